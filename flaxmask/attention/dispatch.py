"""One entry for every implementation of attention over a mask."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention.blockwise import blockwise
from flaxmask.attention.reference import reference
from flaxmask.attention.xla import xla
from flaxmask.masks import And, By, Mask, Not, Or
from flaxmask.tokens import Array, Tokens

LONG = 1024 * 1024
"""Scores a head from which on `blockwise` is preferred on CPU; below, its loops cost more than they skip."""


class Call(NamedTuple):
    """What an implementation may refuse by: arguments of `dot_product_attention`, and where it runs."""

    query: Any
    key: Any
    mask: Mask
    dropout_rate: float
    platform: str


class Implementation(NamedTuple):
    """A way to compute attention.

    Attributes:
      run: query, key, value, mask, both Tokens, bias, dropout rate and key → `[B, Q, N, H]`.
      refuses: what of a call it cannot do, or None.
      preferred: whether it is the best for a call that it does not refuse.
    """

    run: Callable[..., Array]
    refuses: Callable[[Call], str | None]
    preferred: Callable[[Call], bool]


def _by_content(mask: Mask) -> By | None:
    """The first part of a formula that depends on content."""
    match mask:
        case By():
            return mask
        case Not(term):
            return _by_content(term)
        case And(terms) | Or(terms):
            return next((found for term in terms if (found := _by_content(term)) is not None), None)
    return None


def _blockwise_refuses(call: Call) -> str | None:
    by = _by_content(call.mask)
    return None if by is None else f"the mask {by} reads all scores of a query at once, and blockwise never holds them"


def _is_long(call: Call) -> bool:
    return call.platform == "cpu" and call.query.shape[1] * call.key.shape[1] >= LONG


IMPLEMENTATIONS = {
    "blockwise": Implementation(blockwise, _blockwise_refuses, _is_long),
    "xla": Implementation(xla, lambda call: None, lambda call: True),
    "reference": Implementation(reference, lambda call: None, lambda call: False),
}
"""In the order in which `implementation=None` asks them."""


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
      ValueError: an argument does not fit (the message names it, its shape and what was expected), or the
        implementation that was named cannot do this call (the message says which part).
    """
    if not isinstance(mask, Mask):
        raise TypeError(f"mask: expected a formula such as masks.causal & masks.segment, got {type(mask).__name__}")
    _check(query, key, value, query_tokens, key_tokens)
    _check_bias(bias, query, key, query_tokens, key_tokens)
    if not 0.0 <= dropout_rate < 1.0:
        raise ValueError(f"dropout_rate: expected 0 ≤ rate < 1, got {dropout_rate}")
    if dropout_rate > 0.0 and dropout_rng is None:
        raise ValueError(f"dropout_rng: expected a key where dropout_rate is {dropout_rate}, got None")
    name = choose(Call(query, key, mask, dropout_rate, jax.default_backend()), implementation)
    run = IMPLEMENTATIONS[name].run
    out = run(query, key, value, mask, query_tokens, key_tokens, bias, dropout_rate, dropout_rng)
    return out.astype(query.dtype)


def choose(call: Call, implementation: str | None) -> str:
    """The name of the implementation for a call.

    Raises:
      ValueError: an unknown name, or the named one refuses.
    """
    if implementation is None:
        able = (name for name, i in IMPLEMENTATIONS.items() if i.preferred(call) and not i.refuses(call))
        return next(able)
    if implementation not in IMPLEMENTATIONS:
        known = ", ".join(IMPLEMENTATIONS)
        raise ValueError(f"implementation: expected one of {known} or None, got {implementation!r}")
    refusal = IMPLEMENTATIONS[implementation].refuses(call)
    if refusal:
        raise ValueError(f"implementation={implementation!r}: {refusal}")
    return implementation


def _check(query, key, value, query_tokens, key_tokens):
    for name, array in (("query", query), ("key", key), ("value", value)):
        if array.ndim != 4 or not jnp.issubdtype(array.dtype, jnp.floating):
            found = f"{array.dtype}{list(array.shape)}"
            raise ValueError(f"{name}: expected floats [batch, length, heads, size], got {found}")
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


def _check_bias(bias, query, key, query_tokens, key_tokens):
    """Four axes, each 1 or the scores'."""
    if bias is None:
        return
    found = jax.eval_shape(bias, query_tokens, key_tokens) if callable(bias) else bias
    scores = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
    fits = found.ndim == 4 and all(b in (1, s) for b, s in zip(found.shape, scores, strict=True))
    if not fits or not jnp.issubdtype(found.dtype, jnp.floating):
        shape = f"{found.dtype}{list(found.shape)}"
        raise ValueError(f"bias: expected floats broadcastable to {list(scores)} with four axes, got {shape}")
