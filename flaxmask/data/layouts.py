"""Layouts: who shares a row, and which rows a batch.

A layout turns the order of an epoch into `Placement`s: lists of example ids and the shape that holds them. It
knows lengths and nothing else, so it costs little, can be counted before anything is built, and cannot change
what an example says. "static", "dynamic" and "packed" give every update the same examples; "bucketed" gives an
epoch the same examples.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from flaxmask.data.config import DataConfig
from flaxmask.names import Refused


class Shape(NamedTuple):
    """Of a batch: all that a compiled step depends on.

    Attributes:
      rows: of the batch.
      source: slots of a row in the source.
      target: slots of a row in the target.
      layout: the promise that its `Tokens` make.
    """

    rows: int
    source: int
    target: int
    layout: Literal["rows", "packed"] = "rows"


class Placement(NamedTuple):
    """One batch to be: the example ids of each row, in order; rows past the last one stay empty."""

    rows: list[list[int]]
    shape: Shape


class Layout(Protocol):
    """A way of placing examples."""

    name: str

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """The batches of an epoch.

        Args:
          order: int `[N]`, example ids.
          lengths: int `[examples, 2]`, source and target tokens of every example.
        """
        ...


def round_up(number: float, multiple: int) -> int:
    """The least multiple that is not less than `number`."""
    return math.ceil(number / multiple) * multiple


@dataclasses.dataclass(frozen=True)
class Static:
    """One example a row, every row at the longest example's length."""

    examples: int
    shape: Shape
    name = "static"

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """Consecutive examples, one shape."""
        return [Placement([[i] for i in ids], self.shape) for ids in _updates(order, self.examples)]


@dataclasses.dataclass(frozen=True)
class Dynamic:
    """One example a row, rows as long as the batch's longest, rounded up to one of a few lengths.

    `ladder` holds these lengths, source and target, rising.
    """

    examples: int
    rows: int
    ladder: tuple[tuple[int, int], ...]
    name = "dynamic"

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """Consecutive examples, at the first length of the ladder that holds them."""
        batches = []
        for ids in _updates(order, self.examples):
            longest = lengths[ids].max(axis=0)
            source, target = next(step for step in self.ladder if (longest <= step).all())
            batches.append(Placement([[i] for i in ids], Shape(self.rows, source, target)))
        return batches


@dataclasses.dataclass(frozen=True)
class Bucketed:
    """One example a row, examples of like length together, so many rows as the budget of tokens allows.

    Within a window of the order, examples go to the smallest of `shapes` that holds them; full batches leave in
    random order, what is left over opens the next window.
    """

    window: int
    shapes: tuple[Shape, ...]
    name = "bucketed"

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """Batches by length; the last of each shape may be part empty."""
        buckets = smallest_fit(lengths, [(s.source, s.target) for s in self.shapes])
        waiting: list[list[int]] = [[] for _ in self.shapes]
        batches = []
        for start in range(0, len(order), self.window):
            ids = order[start : start + self.window]
            ready = []
            for bucket, shape in enumerate(self.shapes):
                queue = waiting[bucket] + ids[buckets[ids] == bucket].tolist()
                full = len(queue) - len(queue) % shape.rows
                ready += [Placement([[i] for i in part], shape) for part in _updates(queue[:full], shape.rows)]
                waiting[bucket] = queue[full:]
            # Seeded by the examples themselves: the same order gives the same batches.
            shuffle = np.random.default_rng(int(ids[0]) + start).permutation(len(ready))
            batches += [ready[i] for i in shuffle]
        rest = [(queue, shape) for queue, shape in zip(waiting, self.shapes, strict=True) if queue]
        return batches + [Placement([[i] for i in queue], shape) for queue, shape in rest]


@dataclasses.dataclass(frozen=True)
class Packed:
    """Several examples a row, by best-fit decreasing: the longest first, each into the row it fills best."""

    examples: int
    source: int
    target: int
    granularity: int
    name = "packed"

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """Consecutive examples, packed; the number of rows is rounded up so that few shapes occur."""
        batches = []
        for ids in _updates(order, self.examples):
            rows = self._pack(ids, lengths[ids].tolist())
            shape = Shape(round_up(len(rows), self.granularity), self.source, self.target, "packed")
            batches.append(Placement(rows, shape))
        return batches

    def _pack(self, ids: Sequence[int], lengths: list[list[int]]) -> list[list[int]]:
        """Best-fit decreasing with two capacities; room is counted in fractions of a row."""
        by_length = sorted(
            range(len(ids)), key=lambda i: -max(lengths[i][0] / self.source, lengths[i][1] / self.target)
        )
        rows: list[list[int]] = []
        room: list[tuple[int, int]] = []
        for i in by_length:
            source, target = lengths[i]
            fitting = [
                ((s - source) / self.source + (t - target) / self.target, row)
                for row, (s, t) in enumerate(room)
                if s >= source and t >= target
            ]
            if fitting:
                row = min(fitting)[1]
            else:
                row = len(rows)
                rows.append([])
                room.append((self.source, self.target))
            rows[row].append(ids[i])
            room[row] = (room[row][0] - source, room[row][1] - target)
        return rows


def make_layout(config: DataConfig, lengths: np.ndarray, devices: int = 1) -> Layout:
    """The layout of a configuration, with its few shapes chosen from the training examples' lengths.

    Args:
      config: names the layout and its limits.
      lengths: int `[examples, 2]` of the training examples, cut to `config.length` where it is set.
      devices: rows are a multiple of it, so that every device holds as many.
    """
    longest = (round_up(config.length or int(side), 8) for side in lengths.max(axis=0))
    source, target = (config.length or side for side in longest)
    rows = round_up(config.batch_examples, devices)
    if config.layout == "static":
        return Static(config.batch_examples, Shape(rows, source, target))
    if config.layout == "dynamic":
        steps = [k / config.shapes for k in range(1, config.shapes + 1)]
        ladder = dict.fromkeys((math.ceil(source * s), math.ceil(target * s)) for s in steps)
        return Dynamic(config.batch_examples, rows, tuple(ladder))
    if config.layout == "bucketed":
        sides = choose_shapes(lengths, config.shapes)
        slots = np.array(sides).sum(axis=1)
        # In slots, so that an update holds `batch_examples` on average, as in the other layouts.
        budget = config.batch_examples * slots[smallest_fit(lengths, sides)].mean()
        shapes = [
            Shape(round_up(max(round(budget / n), 1), devices), *side) for n, side in zip(slots, sides, strict=True)
        ]
        return Bucketed(config.window * config.batch_examples, tuple(shapes))
    return _make_packed(config, lengths, (source, target), devices)


def _make_packed(config: DataConfig, lengths: np.ndarray, static: tuple[int, int], devices: int) -> Packed:
    """Rows whose sides stand in the ratio of the mean lengths, so that both fill up together."""
    mean = lengths.mean(axis=0)
    length = config.pack_length or 2 * max(static)
    if length < max(static):
        raise Refused(f"data.pack_length={length}: the longest example takes {max(static)} slots")
    source, target = (max(round_up(length * m / mean.max(), 8), s) for m, s in zip(mean, static, strict=True))
    expected = config.batch_examples * max(mean[0] / source, mean[1] / target)
    return Packed(config.batch_examples, source, target, round_up(max(expected // 16, 1), devices))


def choose_shapes(lengths: np.ndarray, most: int) -> list[tuple[int, int]]:
    """At most `most` pairs of source and target lengths, greedily: each next one saves the most slots.

    The largest holds every example. Sides are taken from at most 48 quantiles, so the search stays small.
    """
    cells, counts = np.unique(lengths, axis=0, return_counts=True)
    sides = [np.unique(np.quantile(side, np.linspace(0, 1, 48), method="higher")) for side in lengths.T]
    candidates = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    holds = np.all(cells[:, None] <= candidates[None], axis=-1)
    slots = candidates.sum(axis=1)
    chosen = [int(slots.argmax())]
    cost = np.full(len(cells), slots.max())
    while len(chosen) < most:
        total = (counts[:, None] * np.where(holds, np.minimum(cost[:, None], slots), cost[:, None])).sum(axis=0)
        best = int(total.argmin())
        if total[best] >= (counts * cost).sum():
            break
        chosen.append(best)
        cost = np.where(holds[:, best], np.minimum(cost, slots[best]), cost)
    return sorted((int(s), int(t)) for s, t in candidates[chosen])


def smallest_fit(lengths: np.ndarray, sides: Sequence[tuple[int, int]]) -> np.ndarray:
    """The cheapest of `sides` that holds each example, as int `[examples]`.

    Raises:
      ValueError: an example that fits into none.
    """
    slots = np.array(sides).sum(axis=1)
    holds = np.all(lengths[:, None, :] <= np.array(sides)[None], axis=-1)
    if not np.any(holds, axis=1).all():
        example = int(np.any(holds, axis=1).argmin())
        raise ValueError(f"example {example}: lengths {lengths[example].tolist()} fit into none of {list(sides)}")
    return np.where(holds, slots, slots.max() + 1).argmin(axis=1)


def _updates(ids, size: int) -> list[list[int]]:
    """Consecutive parts of `size`; the last may be shorter."""
    ids = ids.tolist() if isinstance(ids, np.ndarray) else ids
    return [ids[i : i + size] for i in range(0, len(ids), size)]
