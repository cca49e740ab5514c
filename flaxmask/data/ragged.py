"""Sequences of ids end to end, in memory or, where they are many, in a file."""

import array
import dataclasses
import tempfile
from collections.abc import Iterable, Sequence

import numpy as np

SPILL = 1 << 26
"""Ids that are held in memory before they go to a file (256 MiB)."""


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Sequences of ids end to end.

    Attributes:
      values: int32 `[tokens]`; an array, or a map of a file that is gone when the process ends.
      offsets: int64 `[sequences + 1]`; sequence i is `values[offsets[i]:offsets[i + 1]]`.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | np.ndarray]) -> "Ragged":
        """From lists of ids."""
        writer = RaggedWriter()
        for sequence in sequences:
            writer.add(sequence)
        return writer.finish()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Int64 `[sequences]`."""
        return np.diff(self.offsets)


class RaggedWriter:
    """Takes sequences one by one; memory holds their offsets and at most `spill` ids."""

    def __init__(self, spill: int | None = None):
        self._spill = spill or SPILL
        self._values, self._ends = array.array("i"), array.array("q", [0])
        self._file = None

    def add(self, sequence: Sequence[int] | np.ndarray):
        """Append a sequence."""
        self._values.extend(sequence)
        self._ends.append(self._ends[-1] + len(sequence))
        if len(self._values) >= self._spill:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115, closed when it is mapped
            self._values.tofile(self._file)
            self._values = array.array("i")

    def finish(self) -> Ragged:
        """All that was added."""
        offsets = np.array(self._ends, np.int64)
        if self._file is None:
            return Ragged(np.array(self._values, np.int32), offsets)
        with self._file as file:
            self._values.tofile(file)
            file.flush()
            # The map outlives the file, which has no name and so takes no room once the process ends.
            return Ragged(np.memmap(file, np.int32, "r"), offsets)
