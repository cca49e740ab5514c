"""From a configuration to an optax optimiser."""

import jax.numpy as jnp
import optax

from flaxmask.training.config import TrainingConfig


def make_schedule(config: TrainingConfig, steps: int) -> optax.Schedule:
    """Learning rate by update: a linear warm-up from 0, then as `config.schedule` says."""
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    elif config.schedule == "inverse_sqrt":
        since = max(warmup, 1)
        after = lambda step: peak * jnp.sqrt(since / jnp.maximum(step + since, 1))
    else:
        after = optax.constant_schedule(peak)
    if warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(config: TrainingConfig, steps: int) -> optax.GradientTransformation:
    """Adam or RMSprop with the schedule, behind clipping by the global norm."""
    schedule = make_schedule(config, steps)
    if config.optimizer == "rmsprop":
        rule = optax.rmsprop(schedule, config.beta2, config.epsilon)
    else:
        rule = optax.adam(schedule, config.beta1, config.beta2, config.epsilon)
    if config.clip_norm is None:
        return rule
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
