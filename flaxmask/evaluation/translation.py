"""Scores of translations, by sacreBLEU (Post 2018), out of what is counted in each example."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

TOKENIZERS = {"bleu": "13a", "tokenised_bleu": "none", "character_bleu": "char"}
"""Of each BLEU, by the names of our metrics: of words, of what stands between spaces, of characters."""

# `force`: that a text is tokenised already is known, and its scores stand beside each other.
SCORES = {name: BLEU(tokenize=kind, force=True) for name, kind in TOKENIZERS.items()} | {"chrf": CHRF()}
"""By the names of our metrics."""


def translation_counts(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, Int[np.ndarray, "N C"]]:
    """What every score counts in each example.

    Of a BLEU matches of 1 to 4 tokens, all such, and both lengths; of chrF for 1 to 6 characters those of the
    hypothesis, of the reference, and both.

    Args:
      hypotheses: one text an example.
      references: one or several texts an example.
    """
    if not hypotheses:
        raise ValueError("hypotheses: expected at least one, got none")
    found = {}
    for name, kind in TOKENIZERS.items():
        # An effective order changes no count, and is what sacreBLEU wants of single sentences.
        score = BLEU(tokenize=kind, force=True, effective_order=True).sentence_score
        ones = [score(text, list(texts)) for text, texts in zip(hypotheses, references, strict=True)]
        found[name] = [[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in ones]
    # What sacreBLEU's own tests of significance start from; it has no other name.
    found["chrf"] = CHRF()._extract_corpus_statistics(list(hypotheses), _columns(references))
    return {name: np.array(counts, np.int64) for name, counts in found.items()}


def bleu_of(counts: Sequence[float]) -> float:
    """BLEU in percent of the sum of what examples count."""
    *grams, ours, theirs = (round(count) for count in counts)
    return BLEU.compute_bleu(grams[:4], grams[4:], ours, theirs, smooth_method="exp").score


def chrf_of(counts: Sequence[float]) -> float:
    """ChrF in percent of the sum of what examples count."""
    return CHRF()._compute_f_score([round(count) for count in counts])


def signatures(references: Sequence[Sequence[str]]) -> dict[str, str]:
    """What each score is, in sacreBLEU's own words.

    >>> signatures([["a cat"]])["tokenised_bleu"].split("|")[:4]
    ['nrefs:1', 'case:mixed', 'eff:no', 'tok:none']
    """
    columns = _columns(references)
    few = [texts[0] for texts in references]
    for score in SCORES.values():  # the number of references is known to it afterwards
        score.corpus_score(few, columns)
    return {name: str(score.get_signature()) for name, score in SCORES.items()}


def _columns(references: Sequence[Sequence[str]]) -> Any:
    """The first references of all examples, then the second of those that have one."""
    most = max(map(len, references))
    return [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
