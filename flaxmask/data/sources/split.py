"""What every source hands out, whatever it reads: a `Split` of records."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flaxmask.names import Refused

CHUNK = 4096
"""Records held at a time."""


def split_of(text: str, held_out: int = 5) -> str:
    """The split of a text, by its hash, so that what shares the text stands on one side.

    `held_out` percent of all texts are "validation", as many are "test", the others are "train".
    """
    percent = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100
    return ("validation", "test", "train")[min(percent // held_out, 2)]


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a data set, read in chunks, so that it may be larger than memory.

    Attributes:
      name: what was asked for, as in "multi30k/en-de:train".
      count: number of records.
      fetch: `fetch(count, chunk)` gives the first `count` records, holding `chunk` of them at a time.
      labels: the names of each feature that is a class, or a sequence of classes, by the feature's key;
        keys of nested features are joined by "/".
      skipped: how many lines of the text are no records, by reason.
      place: says where record number i stands; None names the split and the number.
    """

    name: str
    count: int
    fetch: Callable[[int, int], Iterator[dict[str, Any]]] = dataclasses.field(repr=False)
    labels: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    place: Callable[[int], str] | None = dataclasses.field(default=None, repr=False)

    def __len__(self) -> int:
        return self.count

    def where(self, record: int) -> str:
        """Where a record stands, for messages."""
        return self.place(record) if self.place else f"{self.name}, record {record}"

    def records(self, most: int | None = None, chunk: int = CHUNK) -> Iterator[dict[str, Any]]:
        """The records in order, all or the first `most`: text as str, sequences as lists, nested features as dicts.

        Raises:
          Refused: `most` is negative or `chunk` is not positive; or what is read turns out to be damaged.
        """
        if chunk < 1 or (most is not None and most < 0):
            raise Refused(
                f"{self.name}: cannot read {most} records in chunks of {chunk}: give 0 or more, and 1 or more"
            )
        return self.fetch(self.count if most is None else min(most, self.count), chunk)
