"""Dropout, one function for layers and for every implementation of attention that draws it for the whole matrix."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from flaxmask.tokens import Array


def dropout(x: Float[Array, "..."], rate: float, rng: Array | None) -> Float[Array, "..."]:
    """Zero each element with probability `rate`, scale the others by 1 / (1 - rate).

    Random bits are what dropout costs, so several elements share a word: the rate is rounded to 1/256, or where that
    would change it by more than a fiftieth to 1/65536, and the scale is that of the rounded rate.
    """
    if rate == 0.0 or rng is None:
        return x
    bits = 8 if abs(round(rate * 2**8) / 2**8 - rate) <= rate / 50 else 16
    part, (*axes, last) = jnp.dtype(f"uint{bits}"), x.shape
    words = jax.random.bits(rng, (*axes, -(-last * bits // 32)), jnp.uint32)
    parts = jax.lax.bitcast_convert_type(words, part).reshape(*axes, -1)[..., :last]
    kept = round((1.0 - rate) * 2**bits)
    return _keep(2**bits / kept, x, parts < jnp.asarray(kept, part))


# Left to itself, the backward pass keeps words where a bit an element will do, or draws them once more.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _keep(scale: float, x: Float[Array, "..."], kept: Bool[Array, "..."]) -> Float[Array, "..."]:
    """`x` times `scale` where it is kept."""
    return jnp.where(kept, x * scale, 0.0).astype(x.dtype)


def _forward(scale: float, x: Array, kept: Array) -> tuple[Array, Array]:
    return _keep(scale, x, kept), kept


def _backward(scale: float, kept: Array, gradient: Array) -> tuple[Array, None]:
    return _keep(scale, gradient, kept), None


_keep.defvjp(_forward, _backward)
