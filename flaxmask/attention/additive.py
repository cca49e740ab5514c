"""Additive attention (Bahdanau, Cho & Bengio 2015, section 3.1), one query a row, as a recurrence computes it."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from flaxmask.tokens import Array


def additive_attention(
    query: Float[Array, "B A"],
    key: Float[Array, "B S A"],
    value: Float[Array, "B S D"],
    visible: Bool[Array, "B S"],
    scale: Float[Array, "A"],
) -> Float[Array, "B D"]:
    """`softmax_s(scale · tanh(query + key_s))` over what is visible, applied to the values.

    A query that may see nothing gives zeros, and zero gradients.
    """
    scores = jnp.where(visible, jnp.tanh(query[:, None] + key) @ scale, -jnp.inf)
    sees = visible.any(axis=-1, keepdims=True)
    weights = jnp.where(sees, jax.nn.softmax(jnp.where(sees, scores, 0.0), axis=-1), 0.0)
    return jnp.einsum("BS,BSD->BD", weights, value)
