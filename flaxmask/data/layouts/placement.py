"""What a layout says of a batch: the pieces of each row, and the shape that holds them."""

from typing import Literal, NamedTuple, Protocol

import numpy as np

from flaxmask.data.packing import Pieces


class Shape(NamedTuple):
    """Of a batch: all that a compiled step depends on.

    Attributes:
      rows: of the batch.
      source: slots of a row in the source; 0 where the task has none.
      target: slots of a row in the target; 0 where the task has none.
      layout: the promise that its `Tokens` make; "any" is packed rows whose positions count on through the row, or
        rows that are padded on the left.
      side: where padding stands.
    """

    rows: int
    source: int
    target: int
    layout: Literal["rows", "packed", "any"] = "rows"
    side: Literal["right", "left"] = "right"


class Placement(NamedTuple):
    """One batch to be; rows past the last one stay empty.

    Attributes:
      pieces: which example stands in which row.
      shape: of the batch.
      epoch: which time its examples are seen.
    """

    pieces: Pieces
    shape: Shape
    epoch: int = 0


class Layout(Protocol):
    """A way of placing examples.

    Attributes:
      name: for messages.
    """

    name: str

    @property
    def steady(self) -> bool:
        """Whether every order of the same examples gives as many batches."""
        ...

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """The batches of an epoch.

        Args:
          order: int `[N]`, example ids.
          lengths: int `[examples, 2]`, source and target tokens of every example.
        """
        ...


def updates(ids: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive parts of `size`; the last may be shorter."""
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def one_a_row(ids: np.ndarray) -> Pieces:
    """Each example a row of its own."""
    return Pieces(ids, np.arange(len(ids)))


def shuffler(order: np.ndarray) -> np.random.Generator:
    """Seeded by the order itself: the same order gives the same batches."""
    return np.random.default_rng(order[:8])
