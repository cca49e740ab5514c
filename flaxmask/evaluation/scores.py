"""Scores of a corpus as functions of what is counted in each example, summed: so that examples can be drawn anew."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Num

from flaxmask.evaluation.translation import bleu_of, chrf_of

Sums = Num[np.ndarray, "D C"]
"""Of each of D draws of a corpus, C sums over its examples."""


def _mean(sums: Sums) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def _percent(sums: Sums) -> np.ndarray:
    return 100.0 * _mean(sums)


def _share(sums: Sums) -> np.ndarray:
    """In percent; 0 where there is nothing to have a share of."""
    return 100.0 * sums[:, 0] / np.maximum(sums[:, 1], 1)


def _f1(sums: Sums) -> np.ndarray:
    """2 · right / (found + wanted); 0 where there is neither."""
    right, found, wanted = sums.T
    return 200.0 * right / np.maximum(found + wanted, 1)


def _bleu(sums: Sums) -> np.ndarray:
    return np.array([bleu_of(row) for row in sums.tolist()])


def _chrf(sums: Sums) -> np.ndarray:
    return np.array([chrf_of(row) for row in sums.tolist()])


SCORES: dict[str, Callable[[Sums], Float[np.ndarray, "D"]]] = {
    "loss": _mean,
    **dict.fromkeys(("accuracy", "named_accuracy", "finetuned_accuracy", "per", "wer"), _percent),
    **dict.fromkeys(("per_trained", "per_longer", "wer_trained", "wer_longer"), _share),
    **dict.fromkeys(("unending", "repeated_4grams", "distinct_2"), _share),
    "span_f1": _f1,
    **dict.fromkeys(("bleu", "tokenised_bleu", "character_bleu", "self_bleu"), _bleu),
    "chrf": _chrf,
}
"""By the names of the metrics. Those of ratios count what is asked for, and how many could be."""

ADDITIVE = tuple(name for name, score in SCORES.items() if score in (_mean, _percent, _share))
"""Of which examples have a score of their own."""


def corpus_score(name: str, counts: Num[np.ndarray, "N C"]) -> float:
    """Of all examples together.

    >>> corpus_score("per", np.array([[0, 3], [2, 4]]))
    28.57142857142857
    """
    return float(SCORES[name](np.sum(counts, axis=0, keepdims=True))[0])
