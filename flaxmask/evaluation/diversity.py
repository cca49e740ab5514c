"""How unlike each other several texts for one source are, counted source by source."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from flaxmask.evaluation.loops import grams
from flaxmask.evaluation.translation import translation_counts


def distinct(texts: Sequence[Sequence[str]], size: int = 2) -> Int[np.ndarray, "N 2"]:
    """Different grams of `size` words among the texts of a source, and all of them: distinct-n (Li et al. 2016).

    >>> distinct([["a b c", "a b d"]]).tolist()
    [[3, 4]]
    """
    counts = []
    for several in texts:
        found = [gram for text in several for gram in grams(text.split(), size)]
        counts.append((len(set(found)), len(found)))
    return np.array(counts, np.int64).reshape(-1, 2)


def self_bleu(texts: Sequence[Sequence[str]]) -> Int[np.ndarray, "N C"]:
    """What BLEU counts of each text against the others of its source, added up: self-BLEU (Zhu et al. 2018)."""
    counts = []
    for number in range(len(texts[0])):
        one = [several[number] for several in texts]
        others = [[*several[:number], *several[number + 1 :]] for several in texts]
        counts.append(translation_counts(one, others)["tokenised_bleu"])
    return np.sum(counts, axis=0)
