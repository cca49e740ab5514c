"""From a placement to a `Batch` of NumPy arrays."""

import numpy as np

from flaxmask.data.examples import Examples, Ragged
from flaxmask.data.layouts import Placement
from flaxmask.data.vocabulary import BOS
from flaxmask.tokens import Batch, Tokens


def build_batch(examples: Examples, placement: Placement) -> Batch:
    """Lay examples out as placed; the decoder's input is the target shifted right behind a beginning mark."""
    ids = np.array([i for row in placement.rows for i in row], np.int64)
    row_of = np.repeat(np.arange(len(placement.rows)), [len(row) for row in placement.rows])
    first = np.concatenate([[True], row_of[1:] != row_of[:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(len(ids)), 0))
    segment = np.arange(len(ids)) - start + 1

    shape = placement.shape
    source = _Side(examples.source, ids, row_of, segment, (shape.rows, shape.source))
    target = _Side(examples.target, ids, row_of, segment, (shape.rows, shape.target))
    labels = target.fill(target.values)
    shifted = target.fill(np.where(target.positions == 0, BOS, np.roll(target.values, 1)))
    return Batch(
        source=source.tokens(source.fill(source.values), shape.layout),
        target=target.tokens(shifted, shape.layout),
        labels=labels,
        weights=target.fill(np.ones_like(target.values)).astype(np.float32),
        examples=target.fill(target.examples, empty=-1),
    )


class _Side:
    """The tokens of one side end to end, with where each goes."""

    def __init__(self, ragged: Ragged, ids: np.ndarray, row_of: np.ndarray, segment: np.ndarray, shape):
        lengths = ragged.lengths[ids]
        ends = np.cumsum(lengths)
        self.shape = shape
        self.positions = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
        self.values = ragged.values[np.repeat(ragged.offsets[ids], lengths) + self.positions]
        self.examples = np.repeat(ids, lengths).astype(np.int32)
        self.segments = np.repeat(segment, lengths)
        self.row = np.repeat(row_of, lengths)
        # Slots count on through a row's examples, and start again with each row.
        row_start = np.repeat((ends - lengths)[segment == 1], np.bincount(row_of, weights=lengths).astype(int))
        self.slot = np.arange(ends[-1]) - row_start

    def fill(self, values: np.ndarray, empty: int = 0) -> np.ndarray:
        """An int32 array of the batch's shape with the values in their slots."""
        array = np.full(self.shape, empty, np.int32)
        array[self.row, self.slot] = values
        return array

    def tokens(self, ids: np.ndarray, layout) -> Tokens:
        positions = np.tile(np.arange(self.shape[1], dtype=np.int32), (self.shape[0], 1))
        positions[self.row, self.slot] = self.positions
        return Tokens(ids, self.fill(self.segments), positions, None, layout)
