"""One entry for every implementation of attention over a mask."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention import blockwise, cudnn, reference, splash, xla
from flaxmask.attention.call import Call, Lowering
from flaxmask.masks import Mask
from flaxmask.tokens import Array, Tokens

LONG = 1024 * 1024
"""Scores a head from which on `blockwise` is chosen on CPU; below, its loops cost more than they skip."""


class Implementation(NamedTuple):
    """A way to compute attention.

    Attributes:
      run: query, key, value, mask, both Tokens, bias, dropout rate and key → `[B, Q, N, H]`.
      refuses: what of a call it cannot do, or None.
      declines: why it is not chosen unless named for a call that it could do, or None.
      lowering: how it obeys the mask of a call that it does not refuse.
    """

    run: Callable[..., Array]
    refuses: Callable[[Call], str | None]
    declines: Callable[[Call], str | None]
    lowering: Callable[[Call], Lowering]


def _too_short(call: Call) -> str | None:
    if call.platform != "cpu":
        return "its loops were made for CPUs"
    if call.query.shape[1] * call.key.shape[1] < LONG:
        return f"shorter than {LONG:,} scores a head"
    return None


def _unmeasured(call: Call) -> str | None:
    return "interpreted here: for tests" if call.platform == "cpu" else "not yet run on such a device: only by name"


IMPLEMENTATIONS = {
    "blockwise": Implementation(blockwise.blockwise, blockwise.refuses, _too_short, blockwise.lowering),
    "cudnn": Implementation(cudnn.cudnn, cudnn.refuses, _unmeasured, cudnn.lowering),
    "splash": Implementation(splash.splash, splash.refuses, _unmeasured, splash.lowering),
    "xla": Implementation(xla.xla, xla.refuses, lambda call: None, xla.lowering),
    "reference": Implementation(
        reference.reference, reference.refuses, lambda call: "written for reading", reference.lowering
    ),
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
        the two `Tokens`, maybe on a few slots of one row at a time: it reads what they hold, not where it stands.
      implementation: None for the best that supports this call, or a name of `IMPLEMENTATIONS`.
      dropout_rate: probability of dropping an attention weight.
      dropout_rng: key of the dropout's draw; needed where the rate is above 0.

    Raises:
      ValueError: an argument does not fit (the message names it, its shape and what was expected), or the
        implementation that was named cannot do this call (the message says which part).
    """
    check(query, key, value, mask, query_tokens, key_tokens, bias, dropout_rate)
    if dropout_rate > 0.0 and dropout_rng is None:
        raise ValueError(f"dropout_rng: expected a key where dropout_rate is {dropout_rate}, got None")
    call = Call(query, key, mask, query_tokens, key_tokens, bias, dropout_rate, jax.default_backend())
    run = IMPLEMENTATIONS[choose(call, implementation)].run
    out = run(query, key, value, mask, query_tokens, key_tokens, bias, dropout_rate, dropout_rng)
    return out.astype(query.dtype)


def choose(call: Call, implementation: str | None) -> str:
    """The name of the implementation for a call.

    Raises:
      ValueError: an unknown name, or the named one refuses.
    """
    if implementation is None:
        able = (name for name, i in IMPLEMENTATIONS.items() if not (i.declines(call) or i.refuses(call)))
        return next(able)
    if implementation not in IMPLEMENTATIONS:
        known = ", ".join(IMPLEMENTATIONS)
        raise ValueError(f"implementation: expected one of {known} or None, got {implementation!r}")
    refusal = IMPLEMENTATIONS[implementation].refuses(call)
    if refusal:
        raise ValueError(f"implementation={implementation!r}: {refusal}")
    return implementation


def check(query, key, value, mask, query_tokens, key_tokens, bias, dropout_rate):
    """Raise unless the arguments, arrays or shapes, fit together."""
    if not isinstance(mask, Mask):
        raise TypeError(f"mask: expected a formula such as masks.causal & masks.segment, got {type(mask).__name__}")
    _check_shapes(query, key, value, query_tokens, key_tokens)
    _check_bias(bias, query, key, query_tokens, key_tokens)
    if not 0.0 <= dropout_rate < 1.0:
        raise ValueError(f"dropout_rate: expected 0 ≤ rate < 1, got {dropout_rate}")


def _check_shapes(query, key, value, query_tokens, key_tokens):
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
