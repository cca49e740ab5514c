"""Labelled spans (Tjong Kim Sang & De Meulder 2003), from tags of words in the scheme BIO."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Name, first word and word behind the last of every span.

    A span begins at B-, and at an I- that continues none of its name, as the shared task's script has it.

    >>> sorted(spans(["B-person", "I-person", "O", "I-location", "B-location"]))
    [('location', 3, 4), ('location', 4, 5), ('person', 0, 2)]
    """
    found, name, start = set(), None, 0
    for i, tag in enumerate([*tags, "O"]):
        kind, _, label = tag.partition("-")
        if name is not None and (kind != "I" or label != name):
            found.add((name, start, i))
            name = None
        if kind in ("B", "I") and name is None:
            name, start = label, i
    return found


def span_counts(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Int[np.ndarray, "N 3"]:
    """Spans that are right, found and wanted in each sentence; right is one whose name and both ends are.

    >>> span_counts([["B-person", "I-person", "O"]], [["B-person", "I-person", "B-group"]]).tolist()
    [[1, 1, 2]]
    """
    pairs = [(spans(ours), spans(theirs)) for ours, theirs in zip(hypotheses, references, strict=True)]
    counts = [(len(ours & theirs), len(ours), len(theirs)) for ours, theirs in pairs]
    return np.array(counts, np.int64).reshape(-1, 3)
