"""Attention written for reading: the definition that every other implementation is held to."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention.bias import whole_bias
from flaxmask.attention.call import Call, Lowering, dense_lowering
from flaxmask.attention.dropout import dropout
from flaxmask.masks import Mask
from flaxmask.masks.evaluate import evaluate
from flaxmask.tokens import Array, Tokens


def refuses(call: Call) -> str | None:
    """See `Implementation`."""
    return None


def lowering(call: Call) -> Lowering:
    """See `Lowering`."""
    return dense_lowering(call)


def reference(
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
    """`softmax(Q Kᵀ / √H + bias) V` over the visible keys (Vaswani et al. 2017, equation 1), in float32.

    A query that sees nothing gives zeros. `N` query heads share `M` key heads in groups (Ainslie et al. 2023).
    """
    shared = query.shape[2] // value.shape[2]
    seen = weights(query, key, mask, query_tokens, key_tokens, bias)
    seen = dropout(seen, dropout_rate, dropout_rng)
    return jnp.einsum("BNQK,BKNH->BQNH", seen, jnp.repeat(value.astype(jnp.float32), shared, axis=2))


def weights(
    query: Float[Array, "B Q N H"],
    key: Float[Array, "B K M H"],
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    bias: Any = None,
) -> Float[Array, "B N Q K"]:
    """`softmax(Q Kᵀ / √H + bias)` over the visible keys, in float32; zeros for a query that sees nothing."""
    query, key = (x.astype(jnp.float32) for x in (query, key))
    key = jnp.repeat(key, query.shape[2] // key.shape[2], axis=2)
    scores = jnp.einsum("BQNH,BKNH->BNQK", query, key) / jnp.sqrt(query.shape[-1])
    if bias is not None:
        scores = scores + whole_bias(bias, query_tokens, key_tokens)
    visible = evaluate(mask, query_tokens, key_tokens, scores)
    scores = jnp.where(visible, scores, -jnp.inf)
    # A row of nothing but -inf has no softmax: give it finite scores here, and no weight below.
    sees = (scores > -jnp.inf).any(axis=-1, keepdims=True)
    return jnp.where(sees, jax.nn.softmax(jnp.where(sees, scores, 0.0), axis=-1), 0.0)
