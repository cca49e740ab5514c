"""Examples as ragged ids: what a task hands to a layout."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from flaxmask.data.ragged import Ragged, RaggedWriter
from flaxmask.data.vocabulary import BOS


class Row(NamedTuple):
    """One example as a task writes it; a part that the task has not is None.

    Attributes:
      source: ids that the encoder reads.
      target: ids that the decoder reads.
      labels: what is to be predicted at each token of the target, or of the source where there is no target.
      weights: 1 on the labels that count, 0 on others; None counts all.
      prefix: 1 on the tokens that all of the example may see, 0 on others.
      cut: whether something was cut off.
    """

    source: Sequence[int] | None
    target: Sequence[int] | None
    labels: Sequence[int]
    weights: Sequence[int] | None = None
    prefix: Sequence[int] | None = None
    cut: bool = False


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples by their parts, each `Ragged`; None where the task has not this part. See `Row`.

    Attributes:
      truncated: how many examples were cut to the longest length allowed.
    """

    source: Ragged | None
    target: Ragged | None
    labels: Ragged
    weights: Ragged | None = None
    prefix: Ragged | None = None
    truncated: int = 0

    @classmethod
    def of_rows(cls, rows: Iterable[Row], vocabularies: tuple[int, int]) -> "Examples":
        """From rows, read once; `vocabularies` are the numbers of source and of target ids.

        Raises:
          ValueError: an id outside its vocabulary, an empty part, or parts that do not fit; it names the example.
        """
        writers = collections.defaultdict[str, RaggedWriter](RaggedWriter)
        truncated = 0
        for number, row in enumerate(rows):
            _check(number, row, vocabularies)
            truncated += row.cut
            for name, part in zip(Row._fields[:5], row[:5], strict=True):
                if part is not None:
                    writers[name].add(part)
        parts = {name: writer.finish() for name, writer in writers.items()}
        empty = Ragged.of([])
        return cls(
            parts.get("source"),
            parts.get("target"),
            parts.get("labels", empty),
            parts.get("weights"),
            parts.get("prefix"),
            truncated,
        )

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[Sequence[int], Sequence[int]]],
        vocabularies: tuple[int, int],
        length: int | None = None,
        shift: bool = True,
    ) -> "Examples":
        """From pairs of ids with end marks, by `pair_row`. Raises what `of_rows` does."""
        return cls.of_rows((pair_row(*pair, length, shift) for pair in pairs), vocabularies)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def fingerprint(self) -> str:
        """A hash of all ids, weights and flags."""
        digest = hashlib.sha256()
        for name in Row._fields[:5]:
            part = getattr(self, name)
            digest.update(b"none" if part is None else np.ascontiguousarray(part.values).data)
            digest.update(b"none" if part is None else part.offsets.data)
        return digest.hexdigest()

    @property
    def lengths(self) -> np.ndarray:
        """Int `[examples, 2]`: source and target tokens, end marks included; 0 where there is none."""
        sides = (self.source, self.target)
        return np.stack([np.zeros(len(self), np.int64) if side is None else side.lengths for side in sides], axis=1)


def pair_row(source: Sequence[int], target: Sequence[int], length: int | None = None, shift: bool = True) -> Row:
    """A source and a target with end marks; the decoder reads the target shifted right behind a beginning mark.

    Without `shift` it reads the very token that it is to predict, as a known mistake has it.
    """
    short, labels = cut(source, length), cut(target, length)
    changed = len(short) < len(source) or len(labels) < len(target)
    return Row(short, [BOS, *labels[:-1]] if shift else labels, labels, cut=changed)


def cut(ids: Sequence[int], length: int | None) -> Sequence[int]:
    """At most `length` tokens, of which the last stays the end mark."""
    return ids if length is None or len(ids) <= length else [*ids[: length - 1], ids[-1]]


def _check(number: int, row: Row, vocabularies: tuple[int, int]):
    """Refuse a row that a model would silently misread."""
    read = "source" if row.target is None else "target"
    # Labels of a pair come before its target, which is made of them.
    ids = {"source": (row.source, vocabularies[0]), "target": (row.labels, vocabularies[1])}
    for name, (part, size) in ids.items():
        if part is None:
            continue
        if not len(part):
            raise ValueError(f"example {number}: {name}: expected at least an end mark, got nothing")
        if min(part) < 0 or max(part) >= size:
            wrong = next(i for i in part if not 0 <= i < size)
            raise ValueError(f"example {number}: {name}: id {wrong} is outside the vocabulary of {size}")
    wanted = len(row.source if row.target is None else row.target)  # pyright: ignore[reportArgumentType]
    for name in ("labels", "weights", "prefix"):
        part = getattr(row, name)
        if part is not None and len(part) != wanted:
            raise ValueError(f"example {number}: {name}: expected {wanted}, one a token of the {read}, got {len(part)}")
