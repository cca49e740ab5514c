"""Examples as ragged ids: what a task hands to a layout."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Sequences of ids end to end.

    Attributes:
      values: int32 `[tokens]`.
      offsets: int64 `[sequences + 1]`; sequence i is `values[offsets[i]:offsets[i + 1]]`.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> "Ragged":
        """From lists of ids."""
        sequences = list(sequences)
        offsets = np.concatenate([[0], np.cumsum([len(s) for s in sequences], dtype=np.int64)])
        values = np.fromiter((i for s in sequences for i in s), np.int32, count=int(offsets[-1]))
        return cls(values, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Int64 `[sequences]`."""
        return np.diff(self.offsets)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Pairs of a source and a target, both with their end marks.

    Attributes:
      source: ids of the sources.
      target: ids of the targets.
      truncated: how many examples were cut to the longest length allowed.
    """

    source: Ragged
    target: Ragged
    truncated: int = 0

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[Sequence[int], Sequence[int]]],
        vocabularies: tuple[int, int],
        length: int | None = None,
    ) -> "Examples":
        """From pairs of ids, each side cut to `length` tokens of which the last stays the end mark.

        Raises:
          ValueError: an id outside its vocabulary, or an empty side; the message names the example.
        """
        cut, truncated = [], 0
        for number, pair in enumerate(pairs):
            for side, ids, size in zip(("source", "target"), pair, vocabularies, strict=True):
                if not len(ids):
                    raise ValueError(f"example {number}: {side}: expected at least an end mark, got nothing")
                if min(ids) < 0 or max(ids) >= size:
                    wrong = next(i for i in ids if not 0 <= i < size)
                    raise ValueError(f"example {number}: {side}: id {wrong} is outside the vocabulary of {size}")
            if length is not None and max(map(len, pair)) > length:
                truncated += 1
                pair = tuple([*ids[: length - 1], ids[-1]] if len(ids) > length else ids for ids in pair)
            cut.append(pair)
        source, target = (Ragged.of(pair[side] for pair in cut) for side in (0, 1))
        return cls(source, target, truncated)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> np.ndarray:
        """Int `[examples, 2]`: source and target tokens, end marks included."""
        return np.stack([self.source.lengths, self.target.lengths], axis=1)
