"""From a placement to a `Batch` of NumPy arrays."""

from collections.abc import Callable

import numpy as np

from flaxmask.data.examples import Examples
from flaxmask.data.layouts import Placement
from flaxmask.data.packing import Pieces
from flaxmask.data.ragged import Ragged
from flaxmask.tokens import Batch, Tokens

Noise = Callable[[np.ndarray, int, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Ids, epoch, example and place of each token, to ids with the noise and where a label counts."""


def build_batch(examples: Examples, placement: Placement, noise: Noise | None = None) -> Batch:
    """Lay examples out as placed.

    Args:
      examples: of the task.
      placement: of one batch.
      noise: changes the ids that are read, where the task asks for what they were.
    """
    pieces, shape = placement.pieces, placement.shape
    # Segments number the pieces of a row from 1.
    first = np.searchsorted(pieces.rows, pieces.rows)
    segment = np.arange(len(pieces.rows)) - first + 1
    sides = {}
    for name, ragged, slots in (("source", examples.source, shape.source), ("target", examples.target, shape.target)):
        if ragged is not None:
            sides[name] = _Side(ragged, pieces, segment, (shape.rows, slots), shape.side)
    out = sides.get("target", sides.get("source"))
    assert out is not None, "an example has a source or a target"
    ids = {name: side.read(side.ragged) for name, side in sides.items()}
    counted = np.ones(len(out.examples)) if examples.weights is None else out.read(examples.weights)
    if noise is not None:
        name = "target" if "target" in sides else "source"
        ids[name], counted = noise(ids[name], placement.epoch, out.examples, out.places)
    flags = None if examples.prefix is None else out.fill(out.read(examples.prefix)).astype(bool)
    tokens = lambda name: sides[name].tokens(ids[name], shape.layout, flags) if name in sides else None
    return Batch(
        source=tokens("source"),
        target=tokens("target"),
        labels=out.fill(out.read(examples.labels)),
        weights=out.fill(counted).astype(np.float32),
        examples=out.fill(out.examples, empty=-1),
    )


class _Side:
    """The tokens of one side end to end, with where each goes."""

    def __init__(self, ragged: Ragged, pieces: Pieces, segment: np.ndarray, shape: tuple[int, int], side: str):
        self.ragged, self.shape, self._left = ragged, shape, side == "left"
        starts, spans = ragged.offsets[pieces.examples], pieces.spans
        lengths = ragged.offsets[pieces.examples + 1] - starts if spans is None else spans[:, 1] - spans[:, 0]
        ends = np.cumsum(lengths)
        total = int(lengths.sum())
        self.positions = np.arange(total) - np.repeat(ends - lengths, lengths)
        self.places = self.positions if spans is None else self.positions + np.repeat(spans[:, 0], lengths)
        self._from = np.repeat(starts, lengths) + self.places
        self.examples = np.repeat(pieces.examples, lengths).astype(np.int32)
        self.segments = np.repeat(segment, lengths)
        # Slots count on through a row's pieces, and start again with each row; here of the flattened batch.
        before = (ends - lengths)[np.searchsorted(pieces.rows, pieces.rows)]
        if self._left:  # one piece a row, which ends where the row does
            before = before - (shape[1] - lengths)
        self._slots = np.arange(total) + np.repeat(pieces.rows * shape[1] - before, lengths)

    def read(self, ragged: Ragged) -> np.ndarray:
        """What another part of the examples, of the same lengths, says of each token."""
        return ragged.values[self._from]

    def fill(self, values: np.ndarray, empty: int = 0) -> np.ndarray:
        """An int32 array of the batch's shape with the values in their slots."""
        array = np.full(self.shape, empty, np.int32)
        array.reshape(-1)[self._slots] = values
        return array

    def tokens(self, ids: np.ndarray, layout, prefix: np.ndarray | None) -> Tokens:
        positions = np.tile(np.arange(self.shape[1], dtype=np.int32), (self.shape[0], 1))
        if layout != "any" or self._left:  # else they count on through the row
            positions.reshape(-1)[self._slots] = self.positions
        return Tokens(self.fill(ids), self.fill(self.segments), positions, prefix, layout)
