"""Packing by the histogram of lengths (Krell et al. 2021, arXiv 2107.02027): the cost depends on how many lengths
there are, not on how many sequences.

A `Packing` says which lengths share a row and how many such rows there are: `{(300, 200, 12): 41}` is 41 rows of three
sequences each. `assign` deals the sequences themselves.
"""

import collections
import dataclasses
from collections.abc import Mapping

import numpy as np

SHORT, SHORT_WEIGHT = 8, 0.09
"""NNLSHP: residuals of lengths up to `SHORT` weigh less, since such sequences fill gaps of any row."""


@dataclasses.dataclass(frozen=True)
class Packing:
    """Rows by the lengths in them.

    Attributes:
      capacity: slots of a row.
      rows: for the lengths that share a row, falling, how many such rows.
    """

    capacity: int
    rows: Mapping[tuple[int, ...], int]

    @property
    def count(self) -> int:
        """Rows."""
        return sum(self.rows.values())

    @property
    def sequences(self) -> int:
        """Sequences in all rows."""
        return sum(len(lengths) * count for lengths, count in self.rows.items())

    @property
    def efficiency(self) -> float:
        """Share of the slots that hold a token."""
        return sum(sum(lengths) * count for lengths, count in self.rows.items()) / (self.count * self.capacity)

    @property
    def factor(self) -> float:
        """Sequences a row: how many times fewer rows than sequences."""
        return self.sequences / self.count


def spfhp(counts: np.ndarray, capacity: int, depth: int | None = None) -> Packing:
    """Shortest-pack-first: the longest sequences first, each into the open row with the most room.

    Args:
      counts: int `[L]`, `counts[i]` sequences of length i + 1.
      capacity: slots of a row.
      depth: most sequences of a row; None sets no bound.

    Raises:
      ValueError: a sequence longer than a row.
    """
    open_rows = _OpenRows(capacity, depth)
    for length, left in _falling(counts, capacity):
        left = open_rows.fill(range(capacity, length - 1, -1), length, 1, left)
        open_rows.add((length,), left)
    return open_rows.packing()


def lpfhp(counts: np.ndarray, capacity: int, depth: int | None = None) -> Packing:
    """Longest-pack-first, which is best-fit decreasing: the longest sequences first, into the fullest row that they
    fit, as many copies of a length as fit, new rows too. Arguments are those of `spfhp`.
    """
    open_rows = _OpenRows(capacity, depth)
    for length, left in _falling(counts, capacity):
        left = open_rows.fill(range(length, capacity + 1), length, capacity, left)
        copies = min(capacity // length, depth or capacity)
        open_rows.add((length,) * copies, left // copies)
        open_rows.add((length,) * (left % copies), 1)
    return open_rows.packing()


def nnlshp(counts: np.ndarray, capacity: int, depth: int = 3) -> Packing:
    """Non-negative least squares: how many rows of each of all ways to fill a row use up the histogram best.

    The solution is rounded; a row for which sequences have run out keeps a gap, what is left over is packed alone.
    Arguments are those of `spfhp`.
    """
    # `nnls` is scipy's, whose import costs more than all other packers together.
    from scipy.optimize import nnls

    counts = np.array([dict(_falling(counts, capacity)).get(length, 0) for length in range(1, capacity + 1)])
    ways = [way for size in range(1, depth + 1) for way in _partitions(capacity, size, capacity)]
    uses = np.zeros((capacity, len(ways)))
    for column, way in enumerate(ways):
        np.add.at(uses[:, column], np.array(way) - 1, 1.0)
    weights = np.where(np.arange(1, capacity + 1) <= SHORT, SHORT_WEIGHT, 1.0)
    amounts = np.rint(nnls(uses * weights[:, None], counts * weights)[0]).astype(int)
    left, rows = counts.copy(), collections.Counter[tuple[int, ...]]()
    for way, amount in zip(ways, amounts, strict=True):
        _take(way, int(amount), left, rows)
    rows.update({(length,): count for length, count in _falling(left, capacity)})
    return Packing(capacity, rows)


class _OpenRows:
    """Rows by the room left in them and the lengths that they hold."""

    def __init__(self, capacity: int, depth: int | None):
        self.capacity, self.depth = capacity, depth or capacity
        self._by_room = [collections.Counter[tuple[int, ...]]() for _ in range(capacity + 1)]
        self._full = collections.Counter[tuple[int, ...]]()

    def add(self, lengths: tuple[int, ...], count: int):
        """Rows with these lengths."""
        if not count or not lengths:
            return
        room = self.capacity - sum(lengths)
        done = len(lengths) == self.depth or not room
        (self._full if done else self._by_room[room])[lengths] += count

    def fill(self, rooms: range, length: int, most: int, left: int) -> int:
        """Put up to `most` of `left` sequences into each row with one of these rooms; how many are still left."""
        for room in rooms:
            if self._by_room[room]:
                left = self._put(room, length, most, left)
            if not left:
                break
        return left

    def _put(self, room: int, length: int, most: int, left: int) -> int:
        rows = self._by_room[room]
        while rows and left:
            lengths, count = rows.popitem()
            copies = min(room // length, self.depth - len(lengths), most, left)
            filled = min(count, left // copies)
            self.add(lengths + (length,) * copies, filled)
            if count > filled:
                rows[lengths] = count - filled
            left -= filled * copies
        return left

    def packing(self) -> Packing:
        """All rows."""
        return Packing(self.capacity, sum(self._by_room, self._full))


def _falling(counts: np.ndarray, capacity: int) -> list[tuple[int, int]]:
    """Lengths and how many sequences have them, the longest first."""
    if counts[capacity:].any():
        raise ValueError(f"a sequence of {np.flatnonzero(counts)[-1] + 1} tokens, but a row holds {capacity}")
    return [(int(i) + 1, int(counts[i])) for i in np.flatnonzero(counts)[::-1]]


def _partitions(total: int, size: int, most: int) -> list[tuple[int, ...]]:
    """Ways to write `total` as a sum of `size` falling numbers, none above `most`."""
    if size == 1:
        return [(total,)] if 0 < total <= most else []
    firsts = range(min(most, total - size + 1), 0, -1)
    return [(first, *rest) for first in firsts for rest in _partitions(total - first, size - 1, first)]


def _take(way: tuple[int, ...], amount: int, left: np.ndarray, rows: collections.Counter):
    """Fill `amount` rows in a way as far as sequences are left; rows that miss some keep a gap there."""
    while amount and way:
        need = collections.Counter(way)
        filled = min(amount, *(int(left[length - 1]) // copies for length, copies in need.items()))
        if filled:
            rows[way] += filled
            for length, copies in need.items():
                left[length - 1] -= filled * copies
            amount -= filled
        else:
            short = next(length for length, copies in need.items() if left[length - 1] < copies)
            without = list(way)
            without.remove(short)
            way = tuple(without)
