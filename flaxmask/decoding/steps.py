"""What every way of decoding asks of a model: `step(cache, tokens) -> (logits, cache)`. The model is not known here."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from flaxmask.tokens import Array, Tokens

Step = Callable[[Any, Tokens], tuple[Array, Any]]
"""Logits `[B, K, V]` after one more token of each of K hypotheses `[B, K]`, and the cache with it."""


@runtime_checkable
class Cache(Protocol):
    """What a model keeps between two steps; a pytree, of one hypothesis a source until it is forked."""

    def fork(self, hypotheses: int) -> Any:
        """For so many hypotheses of each source, all of which have the same behind them."""
        ...

    def take(self, parents: Int[Array, "B K"]) -> Any:
        """Hypothesis k of source b goes on from what was its hypothesis `parents[b, k]`."""
        ...


def tokens_at(position: Array, last: Int[Array, "B K"]) -> Tokens:
    """One token of each hypothesis, as a step reads it."""
    ones = jnp.ones_like(last)
    return Tokens(last, ones, ones * position)


def put(written: Int[Array, "B K L"], new: Int[Array, "B K"], position: Array) -> Int[Array, "B K L"]:
    """What is written, with `new` at a position."""
    return jax.lax.dynamic_update_slice_in_dim(written, new[..., None], position, axis=2)


def end(written: Int[Array, "B K"], ended: Bool[Array, "B K"], eos: int, pad: int) -> tuple[Array, Array]:
    """What is written where sequences may have ended: `pad` behind their ends; and which have ended now."""
    written = jnp.where(ended, pad, written)
    return written, ended | (written == eos)


CHUNK = 128
"""Logits of which the largest is looked at first by `largest`."""


def largest(x: Float[Array, "B K V"], count: int) -> tuple[Float[Array, "B K C"], Int[Array, "B K C"]]:
    """The `count` largest entries of each row and where they stand, in order; what `jax.lax.top_k` gives but for the
    order of equals.

    Sorting all of a long row is what takes most of a step. The largest entries stand in those chunks whose own largest
    entries are the largest.
    """
    size = x.shape[-1]
    chunks = -(-size // CHUNK)
    if chunks <= 2 * count:
        values, where = jax.lax.top_k(x, count)
        return values, where
    filled = jnp.pad(x, ((0, 0), (0, 0), (0, chunks * CHUNK - size)), constant_values=-jnp.inf)
    filled = filled.reshape(*x.shape[:-1], chunks, CHUNK)
    _, which = jax.lax.top_k(jnp.max(filled, axis=-1), count)
    values, inside = jax.lax.top_k(
        jnp.take_along_axis(filled, which[..., None], axis=2).reshape(*x.shape[:-1], count * CHUNK), count
    )
    where = jnp.take_along_axis(which, inside // CHUNK, axis=2) * CHUNK + inside % CHUNK
    return values, where
