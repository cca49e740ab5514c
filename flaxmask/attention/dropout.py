"""Dropout, one function for layers and for every implementation of attention that draws it for the whole matrix."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.tokens import Array


def dropout(x: Float[Array, "..."], rate: float, rng: Array | None) -> Float[Array, "..."]:
    """Zero each element with probability `rate`, scale the others by 1 / (1 - rate).

    Random bits are what dropout costs, so several elements share a word: the rate is rounded to 1/256, or where that
    would change it by more than a fiftieth to 1/65536, and the scale is that of the rounded rate.
    """
    if rate == 0.0 or rng is None:
        return x
    bits = 8 if abs(round(rate * 2**8) / 2**8 - rate) <= rate / 50 else 16
    each, (*axes, last) = 32 // bits, x.shape
    words = jax.random.bits(rng, (*axes, -(-last // each)), jnp.uint32)
    parts = [(words >> (bits * i)) & (2**bits - 1) for i in range(each)]
    kept = round((1.0 - rate) * 2**bits)
    return jnp.where(jnp.concatenate(parts, axis=-1)[..., :last] < kept, x * (2**bits / kept), 0.0).astype(x.dtype)
