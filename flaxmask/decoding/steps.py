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

    def keep(self, sources: Int[Array, "N"], hypotheses: int) -> Any:
        """Of these sources alone, each with so many hypotheses."""
        ...

    def grow(self, slots: int) -> Any:
        """With room for so many more tokens of a source, of all its hypotheses together."""
        ...


@runtime_checkable
class Search(Protocol):
    """A way of decoding: what it keeps between two steps, and how it goes on. It can be hashed."""

    @property
    def length(self) -> int:
        """Most tokens to write, L."""
        ...

    @property
    def hypotheses(self) -> int:
        """That are written for each source, K."""
        ...

    def start(self, cache: Cache, batch: int) -> Any:
        """Before the first step: a `NamedTuple` with the `position` that is next, the model's `cache`, and arrays
        of `batch` sources, which is their first axis.
        """
        ...

    def extend(self, step: Step, now: Any) -> Any:
        """One token more of every hypothesis; what is done already stays as it is."""
        ...

    def done(self, now: Any) -> Bool[Array, "B"]:
        """Sources of which nothing will change any more."""
        ...

    def result(self, now: Any) -> Any:
        """What is written so far, arrays whose first axis is the sources."""
        ...


def go_on(search: Search, step: Step, now: Any, until: int, enough: int = 0) -> Any:
    """Extend until that position is next, or no more than `enough` sources are left to be written."""
    unfinished = lambda now: (now.position < until) & (jnp.sum(~search.done(now)) > enough)
    return jax.lax.while_loop(unfinished, lambda now: search.extend(step, now), now)


def decode(search: Search, step: Step, cache: Cache, batch: int) -> Any:
    """A search from its start to its end."""
    return search.result(go_on(search, step, search.start(cache, batch), search.length))


def narrow(search: Search, now: Any, sources: Int[Array, "N"], slots: int) -> Any:
    """What is kept of these sources, in a cache that has grown by so many slots."""
    cache = now.cache.keep(sources, search.hypotheses).grow(slots)
    rest = jax.tree.map(lambda x: x[sources] if x.ndim else x, now._replace(cache=()))
    return rest._replace(cache=cache)


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


def likeliest(logits: Float[Array, "B K V"]) -> Int[Array, "B K"]:
    """The id of the largest logit, of equals the first: `argmax`, in two passes that CPUs do many entries at a time."""
    ids = jnp.arange(logits.shape[-1], dtype=jnp.int32)[None, None]
    top = jnp.max(logits, axis=-1, keepdims=True)
    # Where a logit is no number nothing is equal, and the last id is as good as any.
    return jnp.min(jnp.where(logits == top, ids, logits.shape[-1] - 1), axis=-1)


def best_of(logits: Float[Array, "B K V"], count: int) -> tuple[Float[Array, "B K C"], Int[Array, "B K C"]]:
    """The `count` likeliest ids of each row, in order, and their log-probabilities.

    Sorting all of a long row is what would take most of a step. The largest entries stand in those chunks whose own
    largest entries are the largest.
    """
    size = logits.shape[-1]
    # Chunks, and the entries of those that are left, are fewest together at this width.
    widths = [width for width in range(1, size + 1) if size % width == 0]
    width = min(widths, key=lambda width: size // width + count * width)
    chunks = size // width
    if 4 * (chunks + count * width) > size:
        top = jnp.max(logits, axis=-1, keepdims=True)
        values, ids = jax.lax.top_k(logits, count)
    else:
        parts = logits.reshape(*logits.shape[:-1], chunks, width)
        peaks = jnp.max(parts, axis=-1)
        top = jnp.max(peaks, axis=-1, keepdims=True)
        _, which = jax.lax.top_k(peaks, count)
        few = jnp.take_along_axis(parts, which[..., None], axis=2).reshape(*logits.shape[:-1], count * width)
        values, inside = jax.lax.top_k(few, count)
        ids = jnp.take_along_axis(which, inside // width, axis=2) * width + inside % width
    total = jnp.sum(jnp.exp(logits - top), axis=-1, keepdims=True)
    return values - top - jnp.log(total), ids
