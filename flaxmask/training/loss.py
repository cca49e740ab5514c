"""The loss as sums: divided once, at the end, by whoever has all of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from flaxmask.tokens import PADDING, Array


def cross_entropy(
    logits: Float[Array, "B T V"],
    labels: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    label_smoothing: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Total weighted cross-entropy in nats, and the total weight; see `token_losses`."""
    return jnp.sum(token_losses(logits, labels, weights, label_smoothing)), jnp.sum(weights)


def token_losses(
    logits: Float[Array, "B T V"],
    labels: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    label_smoothing: float = 0.0,
) -> Float[Array, "B T"]:
    """Weighted cross-entropy of each label in nats.

    With smoothing ε the target is 1 - ε on the label and ε spread evenly over the ids that can be predicted: all
    but the pad, whose logit is -inf.
    """
    logits = logits.astype(jnp.float32)
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    # Padding's label is the pad, whose logit is -inf: 0 · inf would be NaN, so it is replaced before weighting.
    real = weights > 0.0
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    loss = normalizer - jnp.where(real, chosen, 0.0)
    if label_smoothing:
        predicted = (jnp.arange(logits.shape[-1]) != PADDING)[None, None]
        mean = jnp.sum(jnp.where(predicted, logits, 0.0), axis=-1) / jnp.sum(predicted)
        loss = loss - label_smoothing * (mean - jnp.where(real, chosen, 0.0))
    return loss * weights
