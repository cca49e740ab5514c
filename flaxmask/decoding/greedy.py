"""Greedy decoding."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Int

from flaxmask.decoding.steps import Step, end, tokens_at
from flaxmask.tokens import Array


def greedy(step: Step, cache: Any, batch: int, length: int, *, bos: int, eos: int, pad: int = 0) -> Int[Array, "B L"]:
    """The likeliest token at every step, up to and with the end mark; padding after it.

    Args:
      step: logits `[B, 1, V]` after one more token each, and the cache with it.
      cache: with at least `length` free slots.
      batch: number of sequences B.
      length: most tokens to write, L.
      bos: id that opens every sequence.
      eos: id that ends one. Decoding stops when all have ended.
      pad: id that is written after the end.
    """
    start = (
        jnp.zeros((), jnp.int32),
        cache,
        jnp.full((batch, 1), bos, jnp.int32),
        jnp.zeros((batch, 1), bool),
        jnp.full((batch, length), pad, jnp.int32),
    )

    def unfinished(carry):
        position, _, _, ended, _ = carry
        return (position < length) & ~ended.all()

    def extend(carry):
        position, cache, last, ended, written = carry
        logits, cache = step(cache, tokens_at(position, last))
        best, ended = end(jnp.argmax(logits, axis=-1).astype(jnp.int32), ended, eos, pad)
        written = jax.lax.dynamic_update_slice_in_dim(written, best, position, axis=1)
        return position + 1, cache, best, ended, written

    return jax.lax.while_loop(unfinished, extend, start)[-1]
