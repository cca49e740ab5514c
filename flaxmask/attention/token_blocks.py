"""Blocks of tokens, and a bias as a function of them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from flaxmask.tokens import EMPTY, Array, Tokens


def padded_tokens(tokens: Tokens, block: int, segment: int | None) -> Tokens:
    """Whole blocks, the last slot repeated (which widens no bound), under a segment of its own where one is given."""
    short = -tokens.shape[1] % block
    if not short:
        return tokens
    last = lambda x: jnp.broadcast_to(x[:, -1:], (x.shape[0], short))
    segments = last(tokens.segments) if segment is None else jnp.full((tokens.shape[0], short), segment, jnp.int32)
    more = Tokens(
        last(tokens.ids), segments, last(tokens.positions), None if tokens.prefix is None else last(tokens.prefix)
    )
    arrays = lambda t: Tokens(t.ids, t.segments, t.positions, t.prefix)
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), arrays(tokens), more)


def split_bias(bias: Any, query: Tokens, key: Tokens, block_q: int, block_k: int) -> tuple[Callable | None, Any]:
    """A bias as a function of arrays (so that they get gradients) and of a block's place and tokens."""
    if bias is None:
        return None, ()
    if not callable(bias):
        return functools.partial(_slice_bias, block_q, block_k), _padded_bias(bias, block_q, block_k)
    leaves, tree = jax.tree.flatten(bias)
    if leaves and all(isinstance(leaf, Array) for leaf in leaves):
        return (lambda arrays, place, q, k: tree.unflatten(arrays)(q, k)), leaves
    # A plain function may close over parameters: they become arguments.
    example = take(padded_tokens(query, block_q, None), 0, 0, block_q)
    other = take(padded_tokens(key, block_k, EMPTY), 0, 0, block_k)
    pure, arrays = jax.closure_convert(bias, example, other)
    return (lambda arrays, place, q, k: pure(q, k, *arrays)), list(arrays)


def _padded_bias(bias: Array, block_q: int, block_k: int) -> Array:
    short = [(0, 0) if n == 1 else (0, -n % block) for n, block in zip(bias.shape[2:], (block_q, block_k), strict=True)]
    return jnp.pad(bias, ((0, 0), (0, 0), *short))


def _slice_bias(block_q: int, block_k: int, bias: Array, place: tuple, q: Tokens, k: Tokens) -> Array:
    """One row's block of an array of biases; axes of 1 stay."""
    row, i, j = place
    starts = [0 if n == 1 else at for n, at in zip(bias.shape, (row, 0, i * block_q, j * block_k), strict=True)]
    sizes = [1, bias.shape[1], *(min(n, b) for n, b in zip(bias.shape[2:], (block_q, block_k), strict=True))]
    return jax.lax.dynamic_slice(bias, starts, sizes)


def take(tokens: Tokens, row: Any, start: Any, size: int) -> Tokens:
    """A row's slots from `start` on, `[1, size]`."""
    cut = lambda x: jax.lax.dynamic_slice(jnp.asarray(x), (row, start), (1, size))
    return jax.tree.map(cut, Tokens(tokens.ids, tokens.segments, tokens.positions, tokens.prefix))
