"""The batches of a run, in order and resumable: a plan of placements, handed to Grain."""

import functools

import grain
import numpy as np

from flaxmask.data.batches import build_batch
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import Layout, Placement
from flaxmask.tokens import Batch


class Plan:
    """Every placement of a run, as a random-access source: epoch after epoch, each in an order of its own.

    An epoch's order depends on seed and epoch alone, so every layout meets the examples in the same order. The
    number of batches is that of the first epoch: no layout's count depends on the order.
    """

    def __init__(self, layout: Layout, lengths: np.ndarray, seed: int, epochs: int):
        self.layout, self.lengths, self.seed, self.epochs = layout, lengths, seed, epochs
        self._epoch = functools.lru_cache(maxsize=2)(self._place)

    def _place(self, epoch: int) -> list[Placement]:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.lengths))
        return self.layout.place(order, self.lengths)

    @property
    def updates_per_epoch(self) -> int:
        """Batches of one epoch."""
        return len(self._epoch(0))

    def __len__(self) -> int:
        return self.epochs * self.updates_per_epoch

    def __getitem__(self, index: int) -> Placement:
        if not 0 <= index < len(self):
            raise IndexError(f"update {index} of {len(self)}")
        epoch, place = divmod(int(index), self.updates_per_epoch)
        return self._epoch(epoch)[place]

    def __repr__(self) -> str:  # Grain names a source in its messages
        return f"Plan({self.layout.name}, seed={self.seed}, epochs={self.epochs})"


def batches(examples: Examples, plan: Plan) -> grain.DatasetIterator[Batch]:
    """An iterator over a plan's batches whose state Orbax saves beside the model's."""
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)  # everything is in memory
    build = functools.partial(build_batch, examples)
    return iter(grain.MapDataset.source(plan).map(build).to_iter_dataset(options))
