"""What can be proved of whole blocks of cells, from the bounds of their segments and positions.

Every formula is evaluated in three values, 0 (all hidden), 1 (not proved) and 2 (all visible), in which `&` is the
least, `|` the greatest and `~` the difference from 2.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from flaxmask.masks import formula, positions
from flaxmask.masks.formula import Mask
from flaxmask.tokens import EMPTY, Array, Tokens

_FAR = formula.MOST  # beyond every position and segment


class Bounds(NamedTuple):
    """Least and greatest of what a block of slots holds, each `[B, n]`.

    Attributes:
      low: least position.
      high: greatest position.
      first: least segment above 0.
      last: greatest segment; 0 or less where nothing is real.
      all_real: whether every slot is real.
      any_empty: whether a slot is an empty one of a cache.
      all_empty: whether all are.
      any_prefix: whether a slot is flagged as prefix.
      all_prefix: whether all are.
    """

    low: Array
    high: Array
    first: Array
    last: Array
    all_real: Array
    any_empty: Array
    all_empty: Array
    any_prefix: Array
    all_prefix: Array


def block_map(mask: Mask, query: Tokens, key: Tokens, block_q: int, block_k: int) -> Int[Array, "B 1 nq nk"]:
    """See `Mask.blocks`."""
    for name, size in (("block_q", block_q), ("block_k", block_k)):
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    q, k = bounds(query, block_q, axis=2), bounds(key, block_k, axis=1)
    proved = _prove(mask, q, k)
    shape = jnp.broadcast_shapes(q.low.shape, k.low.shape)
    # The law of empty slots stands above the formula.
    proved = jnp.where(k.all_empty, 0, jnp.where(k.any_empty, jnp.minimum(proved, 1), proved))
    return jnp.broadcast_to(proved, shape)[:, None].astype(jnp.int32)


def bounds(tokens: Tokens, size: int, axis: int) -> Bounds:
    """Of each block of `size` slots, with an axis of 1 at `axis`."""
    prefix = jnp.zeros(tokens.shape, bool) if tokens.prefix is None else tokens.prefix
    place, segments = jnp.asarray(tokens.positions), jnp.asarray(tokens.segments)
    real = segments > 0

    def over(reduce, values, fill):
        short = -values.shape[1] % size
        padded = jnp.pad(values, ((0, 0), (0, short)), constant_values=fill)
        blocks = padded.reshape(values.shape[0], -1, size)
        return jnp.expand_dims(reduce(blocks, axis=-1), axis)

    return Bounds(
        low=over(jnp.min, place, _FAR),
        high=over(jnp.max, place, -_FAR),
        first=over(jnp.min, jnp.where(real, segments, _FAR), _FAR),
        last=over(jnp.max, segments, -_FAR),
        all_real=over(jnp.all, real, True),
        any_empty=over(jnp.any, segments == EMPTY, False),
        all_empty=over(jnp.all, segments == EMPTY, True),
        any_prefix=over(jnp.any, prefix, False),
        all_prefix=over(jnp.all, prefix, True),
    )


def _prove(mask: Mask, q: Bounds, k: Bounds) -> Array:
    match mask:
        case formula.Full():
            return jnp.full((1, 1, 1), 2)
        case formula.Padding():
            return _proved(k.last <= 0, k.all_real)
        case formula.Segment():
            apart = (q.last < k.first) | (k.last < q.first) | (q.last <= 0) | (k.last <= 0)
            one = (q.first == q.last) & (k.first == k.last) & (q.first == k.first)
            return _proved(apart, one & q.all_real & k.all_real)
        case formula.Prefix():
            return _proved(~k.any_prefix, k.all_prefix)
        case positions.Causal():
            return _proved(k.low > q.high, k.high <= q.low)
        case formula.Not(term):
            return 2 - _prove(term, q, k)
        case formula.And(terms):
            return functools.reduce(jnp.minimum, [_prove(term, q, k) for term in terms])
        case formula.Or(terms):
            return functools.reduce(jnp.maximum, [_prove(term, q, k) for term in terms])
        case positions.PositionMask():
            return _prove_positions(mask, q, k)
    return jnp.full((1, 1, 1), 1)


def _prove_positions(mask: positions.PositionMask, q: Bounds, k: Bounds) -> Array:
    least, most = q.low - k.high, q.high - k.low  # of query - key
    match mask:
        case positions.Window(left, right):
            return _proved((least > left) | (most < -right), (least >= -right) & (most <= left))
        case positions.Strided(step):
            return _proved(_next_multiple(least, step) > most, _one_multiple(least, most, step))
        case positions.Dilated(width, step):
            low, high = jnp.maximum(least, -width * step), jnp.minimum(most, width * step)
            inside = (least >= -width * step) & (most <= width * step)
            return _proved(_next_multiple(low, step) > high, inside & _one_multiple(least, most, step))
        case positions.GlobalTokens(count):
            return _proved((q.low >= count) & (k.low >= count), (q.high < count) | (k.high < count))
        case positions.RandomBlocks(size):
            # Within one block on either side all cells are alike.
            alike = (q.low // size == q.high // size) & (k.low // size == k.high // size)
            seen = mask.cells(q.low, k.low)
            return _proved(alike & ~seen, alike & seen)
        case positions.Explicit():
            return _prove_explicit(mask, q, k)
    return jnp.full((1, 1, 1), 1)


def _proved(empty: Array, full: Array) -> Array:
    return jnp.where(empty, 0, jnp.where(full, 2, 1))


def _next_multiple(number: Array, step: int) -> Array:
    """The least multiple of `step` that is not less."""
    return -(-number // step) * step


def _one_multiple(least: Array, most: Array, step: int) -> Array:
    """Whether every number of the range is a multiple."""
    return (step == 1) | ((least == most) & (least % step == 0))


def _prove_explicit(mask: positions.Explicit, q: Bounds, k: Bounds) -> Array:
    """By counting the table's cells in the rectangle of positions, from its sums."""
    sums = jnp.asarray(np.pad(mask.array.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0))))
    clip = lambda x, size: jnp.clip(x, 0, size)
    top, bottom = clip(q.low, mask.rows), clip(q.high + 1, mask.rows)
    left, right = clip(k.low, mask.columns), clip(k.high + 1, mask.columns)
    count = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    inside = (q.low >= 0) & (q.high < mask.rows) & (k.low >= 0) & (k.high < mask.columns)
    area = (bottom - top) * (right - left)
    return _proved(count == 0, inside & (count == area))
