"""Dropout of attention weights, one function for every implementation that draws it for the whole matrix."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.tokens import Array


def dropout(x: Float[Array, "..."], rate: float, rng: Array | None) -> Float[Array, "..."]:
    """Zero each element with probability `rate`, scale the others by 1 / (1 - rate)."""
    if rate == 0.0 or rng is None:
        return x
    keep = jax.random.bernoulli(rng, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0).astype(x.dtype)
