"""F1 of labelled spans (Tjong Kim Sang & De Meulder 2003), from tags of words in the scheme BIO."""

from collections.abc import Sequence


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


def span_f1(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """2 · right / (found + wanted) in percent, over all sentences; a span is right where name and both ends are.

    >>> round(span_f1([["B-person", "I-person", "O"]], [["B-person", "O", "B-group"]]), 1)
    0.0
    """
    right = found = wanted = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        ours, theirs = spans(hypothesis), spans(reference)
        right, found, wanted = right + len(ours & theirs), found + len(ours), wanted + len(theirs)
    return 200.0 * right / (found + wanted) if found + wanted else 0.0
