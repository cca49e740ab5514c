"""Greedy decoding."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Bool, Int

from flaxmask.decoding.steps import Cache, Step, end, likeliest, put, tokens_at
from flaxmask.tokens import Array


class _Writing(NamedTuple):
    position: Array
    cache: Any
    last: Int[Array, "B 1"]
    ended: Bool[Array, "B 1"]
    written: Int[Array, "B 1 L"]


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The likeliest token at every step, up to and with the end mark; padding after it. A `Search`.

    Attributes:
      length: most tokens to write, L.
      bos: id that opens every sequence.
      eos: id that ends one.
      pad: id that is written after the end.
    """

    length: int
    bos: int
    eos: int
    pad: int = 0
    hypotheses = 1

    def start(self, cache: Cache, batch: int) -> _Writing:
        """See `Search`."""
        return _Writing(
            jnp.zeros((), jnp.int32),
            cache,
            jnp.full((batch, 1), self.bos, jnp.int32),
            jnp.zeros((batch, 1), bool),
            jnp.full((batch, 1, self.length), self.pad, jnp.int32),
        )

    def extend(self, step: Step, now: _Writing) -> _Writing:
        """See `Search`."""
        logits, cache = step(now.cache, tokens_at(now.position, now.last))
        best, ended = end(likeliest(logits), now.ended, self.eos, self.pad)
        return _Writing(now.position + 1, cache, best, ended, put(now.written, best, now.position))

    def done(self, now: _Writing) -> Bool[Array, "B"]:
        """See `Search`."""
        return now.ended[:, 0]

    def result(self, now: _Writing) -> Int[Array, "B L"]:
        """See `Search`."""
        return now.written[:, 0]
