"""Layouts of one example a row."""

import dataclasses
from typing import Literal

import numpy as np

from flaxmask.data.layouts.placement import Placement, Shape, one_a_row, shuffler, updates
from flaxmask.data.layouts.shapes import round_up, smallest_fit

Sort = Literal["random", "source", "target", "source_target", "target_source"]

_KEYS = {"source": (0,), "target": (1,), "source_target": (1, 0), "target_source": (0, 1)}
"""Columns of the lengths for `np.lexsort`, the one that matters most last."""


@dataclasses.dataclass(frozen=True)
class Static:
    """Every row at the longest example's length."""

    examples: int
    shape: Shape
    name = "static"
    steady = True

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """Consecutive examples, one shape."""
        return [Placement(one_a_row(ids), self.shape) for ids in updates(order, self.examples)]


@dataclasses.dataclass(frozen=True)
class Dynamic:
    """Rows as long as the batch's longest, rounded up to one of a few shapes.

    Attributes:
      shapes: the rows of each are the most that a batch of these lengths may have.
      sort: the order of the epoch before it is cut (Morishita et al. 2017); sorted batches leave in random order.
      devices: a batch's rows are rounded up to a multiple of it.
    """

    shapes: tuple[Shape, ...]
    sort: Sort = "random"
    devices: int = 1
    name = "dynamic"

    @property
    def steady(self) -> bool:
        """Whether all shapes have as many rows."""
        return len({shape.rows for shape in self.shapes}) == 1

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """Consecutive examples, as many as the shape that holds them has rows."""
        shuffle = shuffler(order)
        order = in_order(order, lengths, self.sort)
        batches, start = [], 0
        while start < len(order):
            ids = order[start : start + max(shape.rows for shape in self.shapes)]
            fits = smallest_fit(np.maximum.accumulate(lengths[ids]), [(s.source, s.target) for s in self.shapes])
            rows = np.array([shape.rows for shape in self.shapes])[fits]
            # Too many rows for the shape that they would need: the batch ends before the first of these.
            over = np.append(np.arange(1, len(ids) + 1) > rows, True)
            size = int(over.argmax())
            shape = self.shapes[fits[size - 1]]
            whole = shape._replace(rows=round_up(shape.rows, self.devices))
            batches.append(Placement(one_a_row(ids[:size]), whole))
            start += size
        return batches if self.sort == "random" else [batches[i] for i in shuffle.permutation(len(batches))]


def in_order(order: np.ndarray, lengths: np.ndarray, sort: Sort) -> np.ndarray:
    """The order, sorted by lengths where it is asked for; what is equally long stays as it was."""
    if sort == "random":
        return order
    return order[np.lexsort([lengths[order, side] for side in _KEYS[sort]])]


@dataclasses.dataclass(frozen=True)
class Bucketed:
    """Examples of like length together, so many rows as the budget of tokens allows.

    Within a window of the order, examples go to the smallest of `shapes` that holds them; full batches leave in
    random order, what is left over opens the next window.
    """

    window: int
    shapes: tuple[Shape, ...]
    name = "bucketed"
    steady = True

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """Batches by length; the last of each shape may be part empty."""
        shuffle = shuffler(order)
        buckets = smallest_fit(lengths[order], [(s.source, s.target) for s in self.shapes])
        waiting = [order[:0] for _ in self.shapes]
        batches = []
        for start in range(0, len(order), self.window):
            part = slice(start, start + self.window)
            ready = []
            for bucket, shape in enumerate(self.shapes):
                queue = np.concatenate([waiting[bucket], order[part][buckets[part] == bucket]])
                full = len(queue) - len(queue) % shape.rows
                ready += [Placement(one_a_row(ids), shape) for ids in updates(queue[:full], shape.rows)]
                waiting[bucket] = queue[full:]
            batches += [ready[i] for i in shuffle.permutation(len(ready))]
        rest = [(queue, shape) for queue, shape in zip(waiting, self.shapes, strict=True) if len(queue)]
        return batches + [Placement(one_a_row(queue), shape) for queue, shape in rest]
