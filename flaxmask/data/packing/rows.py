"""Packers of the sequences themselves: which piece of which example stands in which row."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from flaxmask.data.packing.histogram import Packing

Fit = Literal["first", "best"]
"""The row that was opened first of those with room, or the one that is left with the least."""


@dataclasses.dataclass(frozen=True)
class Pieces:
    """What stands in which row, row after row.

    Attributes:
      examples: int `[P]`, the example of each piece.
      rows: int `[P]`, its row; rising from 0.
      spans: int `[P, 2]`, the first token of the example in this piece and the one after its last; None where every
        piece is a whole example.
    """

    examples: np.ndarray
    rows: np.ndarray
    spans: np.ndarray | None = None

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Pieces":
        """From the examples of each row."""
        sizes = [len(row) for row in rows]
        examples = np.fromiter((example for row in rows for example in row), np.int64, count=sum(sizes))
        return cls(examples, np.repeat(np.arange(len(rows)), sizes))

    @classmethod
    def join(cls, parts: Sequence["Pieces"]) -> "Pieces":
        """The rows of all, one after another."""
        before = np.cumsum([0, *(part.count for part in parts)])
        spans = [part.spans for part in parts if part.spans is not None]
        return cls(
            np.concatenate([part.examples for part in parts]),
            np.concatenate([part.rows + start for part, start in zip(parts, before, strict=False)]),
            np.concatenate(spans) if spans else None,
        )

    @property
    def count(self) -> int:
        """Rows."""
        return int(self.rows[-1]) + 1 if len(self.rows) else 0

    def by_row(self) -> list[list[int]]:
        """The examples of each row."""
        return [part.tolist() for part in np.split(self.examples, self._starts()[1:])]

    def take(self, rows: np.ndarray) -> "Pieces":
        """These rows, in this order, numbered anew."""
        starts = self._starts()
        sizes = np.diff(np.append(starts, len(self.rows)))[rows]
        first = np.repeat(starts[rows] - (np.cumsum(sizes) - sizes), sizes)
        chosen = first + np.arange(sizes.sum())
        spans = None if self.spans is None else self.spans[chosen]
        return Pieces(self.examples[chosen], np.repeat(np.arange(len(rows)), sizes), spans)

    def _starts(self) -> np.ndarray:
        return np.searchsorted(self.rows, np.arange(self.count))


def assign(packing: Packing, ids: np.ndarray, lengths: np.ndarray) -> Pieces:
    """Deal sequences to the rows of a packing; of those of one length the first in `ids` comes first.

    Args:
      packing: made from the histogram of `lengths[ids]`.
      ids: int `[N]`, in any order.
      lengths: int `[examples]`.

    Raises:
      ValueError: the packing is of other lengths.
    """
    order = ids[np.argsort(lengths[ids], kind="stable")]
    found = np.bincount(lengths[order], minlength=packing.capacity + 1)
    next_one = np.cumsum(found) - found
    stops = next_one + found
    examples, sizes = [], []
    for way, count in packing.rows.items():
        columns = []
        for length, copies in zip(*np.unique(way, return_counts=True), strict=True):
            start = next_one[length]
            next_one[length] += count * copies
            columns.append(order[start : next_one[length]].reshape(-1, copies))
        if (next_one > stops).any():
            break
        examples.append(np.concatenate(columns, axis=1).ravel())
        sizes.append(np.full(count, len(way)))
    if (next_one != stops).any():
        raise ValueError(f"the packing holds {packing.sequences} sequences of other lengths than the {len(ids)} given")
    sizes = np.concatenate(sizes)
    return Pieces(np.concatenate(examples), np.repeat(np.arange(len(sizes)), sizes))


def decreasing(
    groups: Sequence[np.ndarray], lengths: np.ndarray, capacity: Sequence[int], fit: Fit, depth: int | None = None
) -> list[Pieces]:
    """First-fit or best-fit decreasing, each group by itself: the longest first, every row open to the end.

    All groups are packed in step, so that many small ones cost little more than one.

    Args:
      groups: ids of each group, int `[N]`.
      lengths: int `[examples, sides]`.
      capacity: slots of a row on each side; 0 on one that is absent.
      fit: which row of those with room.
      depth: most sequences of a row; None sets no bound.

    Raises:
      ValueError: an example longer than a row.
    """
    share = (lengths / np.maximum(capacity, 1)).max(axis=1)
    if len(groups) and (too_long := np.flatnonzero(share > 1.0)).size:
        _check_fits(int(too_long[0]), lengths, capacity)
    orders = [ids[np.argsort(-share[ids], kind="stable")] for ids in groups]
    sizes = np.array([len(ids) for ids in orders])
    row_of = [np.empty(size, np.int64) for size in sizes]
    scale = 1.0 / np.maximum(capacity, 1)
    # A row that nobody opened has the most room, so it comes last in best fit as in first fit.
    room = np.tile(np.asarray(capacity, np.int64), (len(groups), 1, 1))
    held = np.zeros(room.shape[:2], np.int64)
    for step in range(sizes.max(initial=0)):
        active = np.flatnonzero(sizes > step)
        if not (room[active, -1] == capacity).all():  # keep one unopened row in each
            more = room.shape[1]
            room = np.concatenate([room, np.tile(np.asarray(capacity, np.int64), (len(groups), more, 1))], axis=1)
            held = np.pad(held, ((0, 0), (0, more)))
        length = lengths[[orders[group][step] for group in active]]
        left = room[active] - length[:, None]
        free = left.min(axis=2) >= 0
        if depth is not None:
            free &= held[active] < depth
        slot = free.argmax(axis=1) if fit == "first" else np.where(free, left @ scale, np.inf).argmin(axis=1)
        room[active, slot] -= length
        held[active, slot] += 1
        for group, row in zip(active, slot, strict=True):
            row_of[group][step] = row
    return [_by_row(ids, rows) for ids, rows in zip(orders, row_of, strict=True)]


def _by_row(ids: np.ndarray, rows: np.ndarray) -> Pieces:
    order = np.argsort(rows, kind="stable")
    return Pieces(ids[order], rows[order])


def _check_fits(example: int, lengths: np.ndarray, capacity: Sequence[int]):
    if (lengths[example] > capacity).any():
        asked, held = lengths[example].tolist(), list(map(int, capacity))
        raise ValueError(f"example {example}: lengths {asked}, but a row holds {held}")


def online(
    ids: Iterable[int],
    lengths: np.ndarray,
    capacity: Sequence[int],
    fit: Fit = "best",
    buffer: int = 64,
    depth: int | None = None,
) -> Iterator[list[int]]:
    """Pack a stream as it comes, with at most `buffer` rows open: where none has room, the fullest leaves.

    Args:
      ids: in the order of the stream.
      lengths: int `[examples, sides]`.
      capacity: slots of a row on each side; 0 on one that is absent.
      fit: which row of those with room.
      buffer: rows held open.
      depth: most sequences of a row; None sets no bound.

    Yields:
      The examples of a row, as soon as nothing more fits or may come into it; at the end those that are open.

    Raises:
      ValueError: an example longer than a row.
    """
    # Plain numbers: on a few dozen rows a loop is faster than NumPy's calls.
    scale = [1.0 / max(slots, 1) for slots in capacity]
    rows: list[list[int]] = []
    room: list[_Room] = []
    for example in ids:
        length = lengths[example].tolist()
        slot = _choose(room, length, fit)
        if slot is None:
            _check_fits(example, lengths, capacity)
            if len(rows) == buffer:
                fullest = min(range(buffer), key=lambda slot: room[slot][0])
                room.pop(fullest)
                yield rows.pop(fullest)
            slot = len(rows)
            rows.append([])
            room.append((0.0, *capacity))
        rows[slot].append(int(example))
        left = [have - take for have, take in zip(room[slot][1:], length, strict=True)]
        room[slot] = (sum(slots * share for slots, share in zip(left, scale, strict=True)), *left)
        # Every example has a token on every side that there is.
        full = any(not have and slots for have, slots in zip(left, capacity, strict=True))
        if full or len(rows[slot]) == depth:
            room.pop(slot)
            yield rows.pop(slot)
    yield from rows


_Room = tuple[float, *tuple[int, ...]]
"""Of an open row: shares of the sides that are free, added up, and the free slots of each side."""


def _choose(room: list[_Room], length: list[int], fit: Fit) -> int | None:
    """The open row that a sequence goes to; None where none has room."""
    source, target = length[0], length[-1]
    chosen, least = None, float("inf")
    for slot, have in enumerate(room):
        if have[1] >= source and have[-1] >= target and have[0] < least:
            if fit == "first":
                return slot
            chosen, least = slot, have[0]
    return chosen


def concatenate(ids: np.ndarray, lengths: np.ndarray, capacity: int) -> Pieces:
    """End to end, cut where a row ends: no slot is lost but in the last row, and a cut example's parts are pieces.

    Args:
      ids: int `[N]`.
      lengths: int `[examples]`.
      capacity: slots of a row.
    """
    ends = np.cumsum(lengths[ids])
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.union1d(ends - lengths[ids], np.arange(0, total, capacity))
    stops = np.append(cuts[1:], total)
    owner = np.searchsorted(ends, cuts, side="right")
    start = (ends - lengths[ids])[owner]
    return Pieces(ids[owner], cuts // capacity, np.stack([cuts - start, stops - start], axis=1))
