"""Sampling: each token is drawn from what the model expects, narrowed to what is likely enough."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from flaxmask.decoding.steps import Cache, Step, end, put, tokens_at
from flaxmask.names import Refused
from flaxmask.tokens import Array


class Sampler(NamedTuple):
    """How a distribution is narrowed, in this order.

    Attributes:
      repetition_penalty: logits of tokens that are written already are divided by this where positive and multiplied
        by it where negative (Keskar et al. 2019); 1 changes nothing.
      temperature: logits are divided by this; 0 takes the likeliest.
      top_k: only so many tokens are left (Fan et al. 2018); 0 leaves all.
      top_p: only the likeliest tokens are left, as few as have this probability together (Holtzman et al. 2020).
      min_p: only tokens are left that are at least so likely as the likeliest is, times this (Nguyen et al. 2024).
    """

    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def check(self) -> "Sampler":
        """Itself.

        Raises:
          Refused: a setting out of its range; the message names it.
        """
        for name, good, range_ in (
            ("repetition_penalty", self.repetition_penalty > 0, "more than 0"),
            ("temperature", self.temperature >= 0, "at least 0"),
            ("top_k", self.top_k >= 0, "at least 0"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "between 0 and 1"),
        ):
            if not good:
                raise Refused(f"{name}: expected {range_}, got {getattr(self, name)}")
        return self

    def narrow(self, logits: Float[Array, "B K V"], seen: Bool[Array, "B K V"]) -> Float[Array, "B K V"]:
        """Logits of the distribution that is drawn from: -inf on what is left out.

        Args:
          logits: the model's.
          seen: which ids each hypothesis has written.
        """
        if self.repetition_penalty != 1.0:
            by = self.repetition_penalty
            logits = jnp.where(seen, jnp.where(logits > 0, logits / by, logits * by), logits)
        if self.temperature == 0.0:
            best = jnp.argmax(logits, axis=-1)[..., None]
            return jnp.where(jnp.arange(logits.shape[-1])[None, None] == best, 0.0, -jnp.inf)
        logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            logits = _keep_first(logits, self.top_k)
        if self.top_p < 1.0:
            order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
            sorted_ = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1), axis=-1)
            before = jnp.cumsum(sorted_, axis=-1) - sorted_
            kept = jnp.sum(before < self.top_p, axis=-1, keepdims=True)
            logits = jnp.where(_rank(order) < kept, logits, -jnp.inf)
        if self.min_p > 0.0:
            likely = logits - jnp.max(logits, axis=-1, keepdims=True) >= jnp.log(self.min_p)
            logits = jnp.where(likely, logits, -jnp.inf)
        return logits


def _keep_first(logits: Float[Array, "B K V"], count: int) -> Float[Array, "B K V"]:
    """The largest, as many as asked: of equals those with the lower ids."""
    _, ids = jax.lax.top_k(logits, count)
    kept = jnp.zeros(logits.shape, bool)
    kept = jnp.put_along_axis(kept, ids, True, axis=-1, inplace=False)
    return jnp.where(kept, logits, -jnp.inf)


def _rank(order: Int[Array, "B K V"]) -> Int[Array, "B K V"]:
    """For each id, its place in an order."""
    return jnp.argsort(order, axis=-1)


def sample(
    step: Step,
    cache: Cache,
    keys: Any,
    length: int,
    sampler: Sampler,
    *,
    samples: int = 1,
    bos: int,
    eos: int,
    pad: int = 0,
) -> Int[Array, "B K L"]:
    """Sequences drawn token by token, up to and with the end mark; padding after it.

    Args:
      step: logits `[B, K, V]` after one more token of each sample, and the cache with it.
      cache: of one hypothesis a source, with at least `length * samples` free slots.
      keys: of each source's draws, `[B]`: what is drawn for a source is a function of its key, whatever else is in the
        batch.
      length: most tokens to write, L.
      sampler: what is drawn from.
      samples: number of samples of each source, K.
      bos: id that opens every sequence.
      eos: id that ends one. Decoding stops when all have ended.
      pad: id that is written after the end.
    """
    sampler.check()
    batch = len(keys)
    vocabulary = jax.eval_shape(
        lambda cache: step(cache, tokens_at(jnp.zeros((), jnp.int32), jnp.zeros((batch, samples), jnp.int32)))[0],
        cache.fork(samples),
    ).shape[-1]
    start = (
        jnp.zeros((), jnp.int32),
        cache.fork(samples),
        jnp.full((batch, samples), bos, jnp.int32),
        jnp.zeros((batch, samples), bool),
        jnp.zeros((batch, samples, vocabulary), bool),
        jnp.full((batch, samples, length), pad, jnp.int32),
    )
    draw = jax.vmap(
        lambda key, position, logits: jax.random.categorical(jax.random.fold_in(key, position), logits), (0, None, 0)
    )

    def unfinished(carry):
        position, _, _, ended, _, _ = carry
        return (position < length) & ~ended.all()

    def extend(carry):
        position, cache, last, ended, seen, written = carry
        logits, cache = step(cache, tokens_at(position, last))
        drawn = draw(keys, position, sampler.narrow(logits, seen)).astype(jnp.int32)
        drawn, ended = end(drawn, ended, eos, pad)
        seen = seen | (drawn[..., None] == jnp.arange(vocabulary)[None, None])
        return position + 1, cache, drawn, ended, seen, put(written, drawn, position)

    return jax.lax.while_loop(unfinished, extend, start)[-1]
