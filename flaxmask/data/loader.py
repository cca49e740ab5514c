"""The batches of a run, in order and resumable: a plan of placements, handed to Grain."""

import collections
import dataclasses
import functools
import hashlib

import grain
import numpy as np

from flaxmask.data.batches import Noise, build_batch
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import Layout, Placement, Shape
from flaxmask.data.packing import Pieces
from flaxmask.names import Refused
from flaxmask.tokens import Batch

AHEAD = 4
"""Batches that are built before they are asked for, beside the main thread."""


@dataclasses.dataclass(frozen=True)
class PlanReport:
    """What an epoch's plan comes to.

    Attributes:
      updates: batches.
      rows: of all batches, empty ones included.
      real_token_fraction: share of the slots, source and target, that hold a token.
      shapes: how many batches have each shape.
    """

    updates: int
    rows: int
    real_token_fraction: float
    shapes: dict[Shape, int]


class Plan:
    """Every placement of a run, as a random-access source: epoch after epoch, each in an order of its own.

    An epoch's order depends on seed and epoch alone, so every layout meets the examples in the same order.
    """

    def __init__(self, layout: Layout, lengths: np.ndarray, seed: int, epochs: int):
        self.layout, self.lengths, self.seed, self.epochs = layout, lengths, seed, epochs
        self.epoch = functools.lru_cache(maxsize=4)(self._place)

    def _place(self, epoch: int) -> list[Placement]:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.lengths))
        return [placement._replace(epoch=epoch) for placement in self.layout.place(order, self.lengths)]

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """Batches up to the end of each epoch."""
        if self.layout.steady:
            return np.arange(1, self.epochs + 1) * len(self.epoch(0))
        return np.cumsum([len(self.epoch(epoch)) for epoch in range(self.epochs)])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Placement:
        if not 0 <= index < len(self):
            raise IndexError(f"update {index} of {len(self)}")
        epoch = int(np.searchsorted(self.ends, index, side="right"))
        return self.epoch(epoch)[int(index) - (int(self.ends[epoch - 1]) if epoch else 0)]

    def report(self, epoch: int = 0) -> PlanReport:
        """Of one epoch."""
        shapes = [placement.shape for placement in self.epoch(epoch)]
        slots = sum(shape.rows * (shape.source + shape.target) for shape in shapes)
        return PlanReport(
            updates=len(shapes),
            rows=sum(shape.rows for shape in shapes),
            real_token_fraction=float(self.lengths.sum() / slots),
            shapes=dict(collections.Counter(shapes)),
        )

    def counted(self, index: int) -> tuple[int, int]:
        """Real tokens and slots of a batch, on both sides and of all hosts."""
        pieces, shape, _ = self[index]
        spans = pieces.spans
        real = self.lengths[pieces.examples].sum() if spans is None else (spans[:, 1] - spans[:, 0]).sum()
        return int(real), shape.rows * (shape.source + shape.target)

    def by_length(self, epoch: int = 0) -> dict[str, list[int] | list[float]]:
        """Of one epoch and for each length of an example's longer side that there is: examples, their tokens on both
        sides, and the slots that they cost. What a row leaves empty its examples share; empty rows are of length 0.
        """
        longer, total = self.lengths.max(axis=1), self.lengths.sum(axis=1)
        slots = np.zeros(longer.max() + 1)
        for pieces, shape, _ in self.epoch(epoch):
            row = shape.source + shape.target
            slots[0] += (shape.rows - pieces.count) * row
            spans = pieces.spans
            tokens = total[pieces.examples] if spans is None else spans[:, 1] - spans[:, 0]
            left = row - np.bincount(pieces.rows, tokens, pieces.count)
            shared = tokens + (left / np.bincount(pieces.rows, minlength=pieces.count))[pieces.rows]
            slots += np.bincount(longer[pieces.examples], shared, len(slots))
        examples = np.bincount(longer, minlength=len(slots))
        known = np.flatnonzero((examples > 0) | (slots > 0))
        tokens = np.bincount(longer, total, len(slots)).astype(int)
        return {
            "length": known.tolist(),
            "examples": examples[known].tolist(),
            "tokens": tokens[known].tolist(),
            "slots": slots[known].round(2).tolist(),
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides which example comes when: two plans with the same one are the same plan."""
        said = repr((self.layout, self.seed, self.epochs)).encode()
        return hashlib.sha256(said + np.ascontiguousarray(self.lengths).tobytes()).hexdigest()

    def __repr__(self) -> str:  # Grain names a source in its messages
        return f"Plan({self.layout.name}, seed={self.seed}, epochs={self.epochs})"


def batches(
    examples: Examples, plan: Plan, noise: Noise | None = None, host: int = 0, hosts: int = 1
) -> grain.DatasetIterator[Batch]:
    """An iterator over a plan's batches whose state, the number of the next one, Orbax saves beside the model's.

    Of several hosts each builds its own rows of every batch, so the stream is the same however many there are.

    Raises:
      Refused: the rows of a batch cannot be shared evenly; the message names both numbers.
    """
    for placement in plan.epoch(0):
        share(placement, host, hosts)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)
    build = lambda placement: build_batch(examples, share(placement, host, hosts), noise)
    return iter(grain.MapDataset.source(plan).map(build).to_iter_dataset(options))


def share(placement: Placement, host: int, hosts: int) -> Placement:
    """One host's rows of a batch.

    Raises:
      Refused: the rows cannot be shared evenly; the message names both numbers.
    """
    if hosts == 1:
        return placement
    if placement.shape.rows % hosts:
        raise Refused(
            f"{hosts} hosts cannot share the {placement.shape.rows} rows of a batch: plan for a multiple of {hosts}"
        )
    rows = placement.shape.rows // hosts
    mine = np.arange(host * rows, min((host + 1) * rows, placement.pieces.count))
    return placement._replace(
        pieces=placement.pieces.take(mine) if len(mine) else Pieces.of([]), shape=placement.shape._replace(rows=rows)
    )
