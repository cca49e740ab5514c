"""From a configuration to an optax optimiser."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from flaxmask.tokens import Array
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


class Averaged(NamedTuple):
    """An optimiser's state, and the moving average of what it has made of the parameters."""

    inner: Any
    updates: Array
    average: Any


def with_average(rule: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """A rule that keeps an exponential moving average of the parameters beside its state (Polyak & Juditsky 1992).

    After update t it is `d · average + (1 - d) · parameters` with `d = min(decay, t / (t + 9))`: the first updates are
    soon forgotten.
    """

    def init(params: Any) -> Averaged:
        return Averaged(rule.init(params), jnp.zeros((), jnp.int32), params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Averaged]:
        updates, inner = rule.update(updates, state.inner, params)
        new = optax.apply_updates(params, updates)
        count = state.updates + 1
        share = 1.0 - jnp.minimum(decay, count / (count + 9))
        average = jax.tree.map(lambda old, x: old + share * (x - old), state.average, new)
        return updates, Averaged(inner, count, average)

    return optax.GradientTransformation(init, update)


def judged_params(params: Any, opt_state: Any) -> Any:
    """The moving average where one is kept, else the parameters."""
    return opt_state.average if isinstance(opt_state, Averaged) else params


def make_optimizer(config: TrainingConfig, steps: int) -> optax.GradientTransformation:
    """Adam or RMSprop with the schedule, behind clipping by the global norm; with a moving average if asked for."""
    schedule = make_schedule(config, steps)
    if config.optimizer == "rmsprop":
        rule = optax.rmsprop(schedule, config.beta2, config.epsilon)
    else:
        rule = optax.adam(schedule, config.beta1, config.beta2, config.epsilon)
    if config.clip_norm is not None:
        rule = optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
    return rule if config.ema_decay is None else with_average(rule, config.ema_decay)
