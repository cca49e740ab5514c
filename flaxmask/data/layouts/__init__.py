"""Layouts: who shares a row, and which rows a batch.

A layout turns the order of an epoch into `Placement`s: example ids and the shape that holds them. It knows lengths
and nothing else, so it costs little, can be counted before anything is built, and cannot change what an example
says. "static", "dynamic" and "packed" give every update the same examples, as long as nothing is sorted or pooled;
"bucketed" gives an epoch the same examples.
"""

import numpy as np

from flaxmask.data.config import DataConfig
from flaxmask.data.layouts.packed import Packed, by_histogram, pack
from flaxmask.data.layouts.padded import Bucketed, Dynamic, Static, in_order
from flaxmask.data.layouts.placement import Layout, Placement, Shape
from flaxmask.data.layouts.shapes import choose_shapes, round_up, smallest_fit
from flaxmask.names import Refused

__all__ = ["Layout", "Packed", "Placement", "Shape", "by_histogram", "longest_sides", "make_layout", "pack", "round_up"]


def make_layout(config: DataConfig, lengths: np.ndarray, devices: int = 1) -> Layout:
    """The layout of a configuration, with its few shapes chosen from the training examples' lengths.

    Args:
      config: names the layout and its limits.
      lengths: int `[examples, 2]` of the training examples, cut to `config.length` where it is set; 0 on a side
        that the task has not.
      devices: rows are a multiple of it, so that every device holds as many.
    """
    source, target = longest_sides(config, lengths)
    rows = round_up(config.batch_examples, devices)
    if config.layout == "static":
        return Static(config.batch_examples, _padded(config, rows, source, target))
    if config.layout == "dynamic":
        return _make_dynamic(config, lengths, (source, target), devices)
    if config.layout == "bucketed":
        return _make_bucketed(config, lengths, devices)
    return _make_packed(config, lengths, (source, target), devices)


def longest_sides(config: DataConfig, lengths: np.ndarray) -> tuple[int, int]:
    """Slots of a static row, source and target: `config.length`, or the longest rounded up to a multiple of 8.

    A prefix and what follows stand on one side, and may take more than `config.length` together.
    """
    given = config.length or 0
    source, target = (given if 0 < side <= given else round_up(int(side), 8) for side in lengths.max(axis=0))
    return source, target


def _padded(config: DataConfig, rows: int, source: int, target: int) -> Shape:
    """A shape of one example a row."""
    left = config.padding_side == "left"
    return Shape(rows, source, target, "any" if left else "rows", config.padding_side)


def _make_dynamic(config: DataConfig, lengths: np.ndarray, static: tuple[int, int], devices: int) -> Dynamic:
    """Shapes that suit the longest of each batch, in one order of many; the static one is among them."""
    budget = config.batch_tokens
    if budget is not None and budget < devices * max(static):
        raise Refused(
            f"data.batch_tokens={budget}: {devices} rows of the longest examples take {devices * max(static)} slots"
        )

    def rows(longest: int) -> int:
        return config.batch_examples if budget is None else budget // longest // devices * devices

    one_order = in_order(np.random.default_rng(0).permutation(len(lengths)), lengths, config.sort)
    longest, start = [], 0
    while start < len(one_order):
        reach = np.maximum.accumulate(lengths[one_order[start : start + rows(1)]])
        size = next((n for n in range(1, len(reach)) if n + 1 > rows(int(reach[n].max()))), len(reach))
        longest.append(reach[size - 1])
        start += size
    sides = choose_shapes(np.array([*longest, static]), config.shapes)
    return Dynamic(tuple(_padded(config, rows(max(side)), *side) for side in sides), config.sort, devices)


def _make_bucketed(config: DataConfig, lengths: np.ndarray, devices: int) -> Bucketed:
    """Shapes that suit the lengths, each with rows for as many slots."""
    sides = choose_shapes(lengths, config.shapes)
    slots = np.array(sides).sum(axis=1)
    # In slots, so that an update holds `batch_examples` on average, as in the other layouts.
    budget = config.batch_examples * slots[smallest_fit(lengths, sides)].mean()
    rows = [round_up(max(round(budget / n), 1), devices) for n in slots]
    shapes = tuple(_padded(config, n, *side) for n, side in zip(rows, sides, strict=True))
    return Bucketed(config.window * config.batch_examples, shapes)


def _make_packed(config: DataConfig, lengths: np.ndarray, static: tuple[int, int], devices: int) -> Packed:
    """Rows whose sides stand in the ratio of the mean lengths, so that both fill up together."""
    mean = lengths.mean(axis=0)
    if config.packer == "nnlshp" and config.pack_pool is None:
        raise Refused("data.packer=nnlshp solves for all examples at once: say how many with data.pack_pool")
    length = config.pack_length or 2 * max(static)
    if length < max(static) and config.packer != "concatenate":
        raise Refused(f"data.pack_length={length}: the longest example takes {max(static)} slots")
    least = (0, 0) if config.packer == "concatenate" else static
    source, target = (max(round_up(length * m / mean.max(), 8), s) for m, s in zip(mean, least, strict=True))
    expected = config.batch_examples * max(m / side for m, side in zip(mean, (source, target), strict=True) if side)
    granularity = round_up(max(expected // (2 * config.shapes), 1), devices)
    shape = Shape(
        round_up(max(round(expected), 1), devices), source, target, "packed" if config.restart_positions else "any"
    )
    return Packed(
        config.batch_examples,
        shape,
        granularity,
        config.pack_pool,
        config.packer,
        config.pack_depth,
        config.pack_buffer,
    )
