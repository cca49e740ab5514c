"""Attention in plain XLA operations, on any device; the mask is materialised at `[B, 1, Q, K]`."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention.bias import whole_bias
from flaxmask.attention.call import Call, Lowering, dense_lowering
from flaxmask.attention.dropout import dropout
from flaxmask.masks import Mask
from flaxmask.masks.evaluate import evaluate
from flaxmask.products import einsum32
from flaxmask.tokens import Array, Tokens


def refuses(call: Call) -> str | None:
    """See `Implementation`."""
    return None


def lowering(call: Call) -> Lowering:
    """See `Lowering`."""
    return dense_lowering(call)


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

    scores = einsum32("BMGQH,BMKH->BMGQK", query, key)
    scores = scores.reshape(batch, heads, length, key.shape[2])
    if bias is not None:
        scores = scores + whole_bias(bias, query_tokens, key_tokens)
    visible = evaluate(mask, query_tokens, key_tokens, scores)
    some = visible if bias is None else visible & (scores > -jnp.inf)
    sees = jnp.any(some, axis=-1, keepdims=True)
    # Hidden cells weigh exp(-inf) = 0, whatever the bias; a row of nothing but these stays finite, and is zeroed below.
    scores = jnp.where(visible, scores, jnp.where(sees, -jnp.inf, 0.0))
    scores = scores if bias is None else jnp.where(sees, scores, 0.0)
    weights = dropout(jax.nn.softmax(scores, axis=-1), dropout_rate, dropout_rng).astype(value.dtype)
    weights = weights.reshape(batch, key.shape[1], groups, length, key.shape[2])
    out = einsum32("BMGQK,BMKH->BMGQH", weights, value)
    out = out.reshape(batch, heads, length, size).transpose(0, 2, 1, 3)
    return jnp.where(sees.transpose(0, 2, 1, 3), out, 0.0)
