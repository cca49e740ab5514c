"""Errors of sequences of symbols against one or several references, counted example by example."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from rapidfuzz.distance import Levenshtein


def symbol_errors(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Int[np.ndarray, "N 2"]:
    """Edits, and symbols of the reference, each hypothesis against the reference closest to it.

    Symbols are separated by spaces. Of references equally close the first counts. Over phonemes, the sums' ratio is
    the PER.

    >>> symbol_errors(["K AE T", "D AO"], [["K AE T"], ["D AA G Z", "D AO G Z"]]).tolist()
    [[0, 3], [2, 4]]
    """
    counts = []
    for hypothesis, texts in _pairs(hypotheses, references):
        distances = [(Levenshtein.distance(hypothesis.split(), text.split()), text) for text in texts]
        distance, closest = min(distances, key=lambda pair: pair[0])
        counts.append((distance, len(closest.split())))
    return np.array(counts, np.int64)


def sequence_errors(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Int[np.ndarray, "N 2"]:
    """Whether a hypothesis equals none of its references, and 1. Over words' pronunciations, their ratio is the WER.

    >>> sequence_errors(["K AE T", "D AO G"], [["K AE T"], ["D AA G", "D AO G Z"]]).tolist()
    [[0, 1], [1, 1]]
    """
    wrong = [(hypothesis not in texts, 1) for hypothesis, texts in _pairs(hypotheses, references)]
    return np.array(wrong, np.int64)


def _pairs(hypotheses, references):
    if not hypotheses:
        raise ValueError("hypotheses: expected at least one, got none")
    return zip(hypotheses, references, strict=True)
