"""Biases of the scores by how far a key stands from its query, in `Tokens.positions`: packed and padded rows agree."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from flaxmask.tokens import Array, Tokens


def distances(query: Tokens, key: Tokens) -> Int[Array, "B Q K"]:
    """Key position less query position; negative before the query."""
    return jnp.asarray(key.positions)[:, None] - jnp.asarray(query.positions)[:, :, None]


def alibi(query: Tokens, key: Tokens, heads: int) -> Float[Array, "B N Q K"]:
    """Linear biases, −slope · distance (Press et al. 2022, ALiBi): slopes 2^(−8i/heads), the same on both sides.

    >>> row = Tokens.of(np.array([[5, 6, 7]]))
    >>> alibi(row, row, 8)[0, 0].tolist()
    [[-0.0, -0.5, -1.0], [-0.5, -0.0, -0.5], [-1.0, -0.5, -0.0]]
    """
    slopes = jnp.asarray(2.0 ** (-8.0 * np.arange(1, heads + 1) / heads), jnp.float32)
    far = jnp.abs(distances(query, key)).astype(jnp.float32)
    return -slopes[None, :, None, None] * far[:, None]


def buckets(distance: Int[Array, "*axes"], count: int = 32, longest: int = 128) -> Int[Array, "*axes"]:
    """A distance's bucket (Raffel et al. 2020, section 2.1): one each for small ones, wider for large, half a side.

    >>> buckets(np.array([-1000, -9, -1, 0, 1, 9, 1000])).tolist()
    [15, 8, 1, 0, 17, 24, 31]
    """
    half = count // 2
    exact = half // 2
    far = jnp.abs(distance)
    ratio = jnp.log(jnp.maximum(far, 1).astype(jnp.float32) / exact) / np.log(longest / exact)
    wide = jnp.minimum(exact + (ratio * (half - exact)).astype(jnp.int32), half - 1)
    return jnp.where(far < exact, far, wide) + half * (distance > 0)
