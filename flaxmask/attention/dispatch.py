"""One entry for every implementation of attention over a mask."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention.reference import reference
from flaxmask.attention.xla import xla
from flaxmask.masks import Mask
from flaxmask.tokens import Array, Tokens

IMPLEMENTATIONS = {"xla": xla, "reference": reference}
"""In the order in which `implementation=None` prefers them."""


def dot_product_attention(
    query: Float[Array, "B Q N H"],
    key: Float[Array, "B K M H"],
    value: Float[Array, "B K M H"],
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    *,
    bias: Float[Array, "#B #N #Q #K"] | Callable[[Tokens, Tokens], Array] | None = None,
    implementation: str | None = None,
    dropout_rate: float = 0.0,
    dropout_rng: Array | None = None,
) -> Float[Array, "B Q N H"]:
    """Attend to what `mask` makes visible, scaled by 1/√H; a query that sees nothing gives zeros.

    Args:
      query: `[B, Q, N, H]`.
      key: `[B, K, M, H]`, where N is a multiple of M.
      value: `[B, K, M, H]`.
      mask: a formula, evaluated on the two `Tokens`.
      query_tokens: `[B, Q]`.
      key_tokens: `[B, K]`.
      bias: added to the scores; an array broadcastable to `[B, N, Q, K]`, or a pytree that is called on
        the two `Tokens`.
      implementation: None for the best that supports this call, or a name of `IMPLEMENTATIONS`.
      dropout_rate: probability of dropping an attention weight.
      dropout_rng: key of the dropout's draw; needed where the rate is above 0.

    Raises:
      ValueError: an argument does not fit; the message names it, its shape and what was expected.
    """
    if not isinstance(mask, Mask):
        raise TypeError(f"mask: expected a formula such as masks.causal & masks.segment, got {type(mask).__name__}")
    _check(query, key, value, query_tokens, key_tokens, dropout_rate, dropout_rng)
    if implementation not in (None, *IMPLEMENTATIONS):
        raise ValueError(
            f"implementation: expected one of {', '.join(IMPLEMENTATIONS)} or None, got {implementation!r}"
        )
    if callable(bias):
        bias = bias(query_tokens, key_tokens)
    bias = _checked_bias(bias, (query.shape[0], query.shape[2], query.shape[1], key.shape[1]))
    attend = IMPLEMENTATIONS[implementation or "xla"]
    out = attend(query, key, value, mask(query_tokens, key_tokens), bias, dropout_rate, dropout_rng)
    return out.astype(query.dtype)


def _check(query, key, value, query_tokens, key_tokens, dropout_rate, dropout_rng):
    for name, array in (("query", query), ("key", key), ("value", value)):
        if array.ndim != 4 or not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"{name}: expected floats [batch, length, heads, size], got {array.dtype}{list(array.shape)}"
            )
    batch, length, heads, size = query.shape
    if key.shape != value.shape or (key.shape[0], key.shape[3]) != (batch, size) or heads % key.shape[2]:
        raise ValueError(
            f"key and value: expected [{batch}, K, a divisor of {heads}, {size}] beside query {list(query.shape)}, "
            f"got {list(key.shape)} and {list(value.shape)}"
        )
    for name, tokens, wanted in (
        ("query_tokens", query_tokens, (batch, length)),
        ("key_tokens", key_tokens, (batch, key.shape[1])),
    ):
        if not isinstance(tokens, Tokens) or tuple(tokens.shape) != wanted:
            found = list(tokens.shape) if isinstance(tokens, Tokens) else type(tokens).__name__
            raise ValueError(f"{name}: expected Tokens {list(wanted)}, got {found}")
    if not 0.0 <= dropout_rate < 1.0:
        raise ValueError(f"dropout_rate: expected 0 ≤ rate < 1, got {dropout_rate}")
    if dropout_rate > 0.0 and dropout_rng is None:
        raise ValueError(f"dropout_rng: expected a key where dropout_rate is {dropout_rate}, got None")


def _checked_bias(bias, scores: tuple[int, int, int, int]):
    """The bias with its shape checked: four axes, each 1 or the scores'."""
    if bias is None:
        return None
    fits = bias.ndim == 4 and all(b in (1, s) for b, s in zip(bias.shape, scores, strict=True))
    if not fits or not jnp.issubdtype(bias.dtype, jnp.floating):
        raise ValueError(
            f"bias: expected floats broadcastable to {list(scores)} with four axes, got {bias.dtype}{list(bias.shape)}"
        )
    return bias.astype(jnp.float32)
