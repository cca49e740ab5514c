"""Beam search: the likeliest sequences, of those that the likeliest beginnings lead to."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from flaxmask.decoding.steps import Cache, Step, best_of, put, tokens_at
from flaxmask.tokens import Array


class Found(NamedTuple):
    """Hypotheses, best first.

    Attributes:
      ids: `[B, N, L]`, up to and with the end mark; padding after it.
      scores: `[B, N]`, the sum of the log-probabilities over `length ** length_penalty`; -inf where there were fewer.
    """

    ids: Int[Array, "B N L"]
    scores: Float[Array, "B N"]


class _Writing(NamedTuple):
    """Of K beams: what is still being written, and the best of what has ended."""

    position: Array
    cache: Any
    last: Int[Array, "B K"]
    written: Int[Array, "B K L"]
    total: Float[Array, "B K"]
    ended: Found


@dataclasses.dataclass(frozen=True)
class Beam:
    """The best hypotheses of each source. A `Search`.

    A hypothesis ends where the end mark is among the best `beams` continuations of its source. What has ended in other
    rows, and how long those are, changes nothing. Of sources with fewer ended hypotheses than beams, those still being
    written after `length` tokens come last.

    With one beam and early stopping this is greedy decoding.

    Attributes:
      beams: hypotheses that are followed at a time, K.
      length: most tokens to write, L, end mark included.
      bos: id that opens every sequence.
      eos: id that ends one.
      pad: id that is written after the end.
      length_penalty: scores are divided by the length to this power; 0 compares sums, which prefers short ones.
      early_stopping: whether a source is done as soon as `beams` hypotheses have ended; otherwise when none of those
        still being written could become better than the worst of these.
    """

    beams: int
    length: int
    bos: int
    eos: int
    pad: int = 0
    length_penalty: float = 1.0
    early_stopping: bool = True

    @property
    def hypotheses(self) -> int:
        """The beams."""
        return self.beams

    def start(self, cache: Cache, batch: int) -> _Writing:
        """See `Search`."""
        written = jnp.full((batch, self.beams, self.length), self.pad, jnp.int32)
        # At first all hypotheses are the same: one of them is followed.
        total = jnp.where(jnp.arange(self.beams) == 0, 0.0, -jnp.inf)
        return _Writing(
            jnp.zeros((), jnp.int32),
            cache.fork(self.beams),
            jnp.full((batch, self.beams), self.bos, jnp.int32),
            written,
            jnp.broadcast_to(total[None], (batch, self.beams)),
            Found(written, jnp.full((batch, self.beams), -jnp.inf)),
        )

    def extend(self, step: Step, now: _Writing) -> _Writing:
        """See `Search`."""
        logits, cache = step(now.cache, tokens_at(now.position, now.last))
        batch, beams, vocabulary = logits.shape
        count = min(2 * beams, vocabulary)
        values, ids = best_of(logits, count)
        # Twice as many as there are beams, so that enough go on where some end.
        sums, best = jax.lax.top_k((now.total[..., None] + values).reshape(batch, -1), min(2 * beams, beams * count))
        parents = best // count
        ids = jnp.take_along_axis(ids.reshape(batch, -1), best, axis=1)
        longer = put(_rows(now.written, parents), ids, now.position)

        ends = (ids == self.eos) & (jnp.arange(ids.shape[1]) < beams)[None]
        scores = jnp.where(ends, self._normalised(sums, now.position + 1), -jnp.inf)
        ended = _best(Found(longer, scores), now.ended, beams)
        # A source that is done stays as it is, however long others take.
        stays = self.done(now)
        ended = Found(*(jnp.where(_over(stays, new), old, new) for old, new in zip(now.ended, ended, strict=True)))

        total, on = jax.lax.top_k(jnp.where(ids == self.eos, -jnp.inf, sums), beams)
        last, parents = (jnp.take_along_axis(x, on, axis=1) for x in (ids, parents))
        return _Writing(now.position + 1, cache.take(parents), last, _rows(longer, on), total, ended)

    def done(self, now: _Writing) -> Bool[Array, "B"]:
        """See `Search`."""
        last = now.ended.scores[:, -1]
        if self.early_stopping:
            return last > -jnp.inf
        # A sum only falls; divided by the greatest length it falls the least.
        best = now.total[:, 0]
        hoped = jnp.maximum(self._normalised(best, now.position + 1), self._normalised(best, self.length))
        return (last > -jnp.inf) & (hoped <= last)

    def result(self, now: _Writing) -> Found:
        """See `Search`."""
        return _fill(now.ended, Found(now.written, self._normalised(now.total, self.length)), self.beams)

    def _normalised(self, total: Array, tokens: Any) -> Array:
        return total / jnp.asarray(tokens, jnp.float32) ** self.length_penalty


def _rows(x: Int[Array, "B K L"], which: Int[Array, "B N"]) -> Int[Array, "B N L"]:
    return jnp.take_along_axis(x, which[..., None], axis=1)


def _over(which: Bool[Array, "B"], x: Array) -> Bool[Array, "B ..."]:
    return which.reshape(-1, *[1] * (x.ndim - 1))


def _best(new: Found, old: Found, count: int) -> Found:
    """The best of both, of equals the older."""
    scores, which = jax.lax.top_k(jnp.concatenate([old.scores, new.scores], axis=1), count)
    return Found(_rows(jnp.concatenate([old.ids, new.ids], axis=1), which), scores)


def _fill(ended: Found, cut: Found, count: int) -> Found:
    """What has ended, and behind it what has not."""
    rank = jnp.concatenate([ended.scores > -jnp.inf, jnp.zeros(cut.scores.shape, bool)], axis=1)
    scores = jnp.concatenate([ended.scores, cut.scores], axis=1)
    # Both parts are in order: a stable sort keeps them so. Places that nothing ended in come last of all.
    rank = jnp.where(rank, 0, jnp.where(scores > -jnp.inf, 1, 2))
    which = jnp.argsort(rank, axis=1, stable=True)[:, :count]
    ids = _rows(jnp.concatenate([ended.ids, cut.ids], axis=1), which)
    return Found(ids, jnp.take_along_axis(scores, which, axis=1))
