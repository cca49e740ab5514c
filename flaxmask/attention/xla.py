"""Attention in plain XLA operations, on any device; the mask is materialised at `[B, 1, Q, K]`."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention.dropout import dropout
from flaxmask.attention.bias import whole_bias
from flaxmask.masks import Mask
from flaxmask.masks.evaluate import evaluate
from flaxmask.tokens import Array, Tokens


def xla(
    query: Float[Array, "B Q N H"],
    key: Float[Array, "B K M H"],
    value: Float[Array, "B K M H"],
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    bias: Any,
    dropout_rate: float,
    dropout_rng: Array | None,
) -> Float[Array, "B Q N H"]:
    """As `reference`, with products in the inputs' dtype, the softmax in float32 and heads before time.

    `jax.nn.dot_product_attention` (its "xla" form) has neither dropout nor a rule for rows that see nothing.
    """
    batch, length, heads, size = query.shape
    groups = heads // key.shape[2]
    query = query.reshape(batch, length, key.shape[2], groups, size) * (size**-0.5)
    query, key, value = query.transpose(0, 2, 3, 1, 4), key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3)

    scores = jnp.einsum("BMGQH,BMKH->BMGQK", query, key, preferred_element_type=jnp.float32)
    scores = scores.reshape(batch, heads, length, key.shape[2])
    if bias is not None:
        scores = scores + whole_bias(bias, query_tokens, key_tokens)
    visible = evaluate(mask, query_tokens, key_tokens, scores)
    # The least finite value, not -inf: exp gives exactly 0 on every row that sees something, and a row that
    # sees nothing stays finite until it is zeroed below.
    scores = jnp.where(visible, scores, jnp.finfo(jnp.float32).min)
    weights = dropout(jax.nn.softmax(scores, axis=-1), dropout_rate, dropout_rng).astype(value.dtype)
    weights = weights.reshape(batch, key.shape[1], groups, length, key.shape[2])
    out = jnp.einsum("BMGQK,BMKH->BMGQH", weights, value)
    out = out.reshape(batch, heads, length, size).transpose(0, 2, 1, 3)
    sees = jnp.any(visible, axis=-1).transpose(0, 2, 1)[..., None]
    return jnp.where(sees, out, jnp.zeros((), out.dtype))
