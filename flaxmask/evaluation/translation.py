"""Scores of translations, by sacreBLEU (Post 2018), and how sure a difference of two is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

TOKENIZERS = {"bleu": "13a", "tokenised_bleu": "none", "character_bleu": "char"}
"""Of each BLEU, by the names of our metrics."""

# `force`: that a text is tokenised already is known, and its scores stand beside each other.
SCORES = {name: BLEU(tokenize=kind, force=True) for name, kind in TOKENIZERS.items()} | {"chrf": CHRF()}
"""By the names of our metrics."""


def translation_scores(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU of words (13a), of what stands between spaces, and of characters, and chrF, of a corpus, in percent.

    >>> {name: round(score) for name, score in translation_scores(["猫坐在垫子上。"], [["猫坐在垫子上。"]]).items()}
    {'bleu': 0, 'tokenised_bleu': 0, 'character_bleu': 100, 'chrf': 100}

    Args:
      hypotheses: one text an example.
      references: one or several texts an example.
    """
    if not hypotheses:
        raise ValueError("hypotheses: expected at least one, got none")
    columns = _columns(references)
    return {name: score.corpus_score(hypotheses, columns).score for name, score in SCORES.items()}


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


def bleu_counts(name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[int]]:
    """What the BLEU of that name counts in each example: matches of 1 to 4 tokens, all such, and both lengths."""
    # An effective order changes no count, and is what sacreBLEU wants of single sentences.
    score = BLEU(tokenize=TOKENIZERS[name], force=True, effective_order=True).sentence_score
    scores = [score(text, list(texts)) for text, texts in zip(hypotheses, references, strict=True)]
    return [[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in scores]


def bleu_of(counts: Sequence[int]) -> float:
    """BLEU in percent of the sum of `bleu_counts`."""
    *grams, ours, theirs = counts
    return BLEU.compute_bleu(grams[:4], grams[4:], ours, theirs, smooth_method="exp").score


def bootstrap(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]], draws: int = 1000) -> tuple[float, float]:
    """The difference of two BLEU scores of the same examples, and its p-value by paired bootstrap resampling (Koehn
    2004): the share of draws in which it strays from itself by as much as it is (Riezler & Maxwell 2005).

    >>> bootstrap([[1] * 10] * 9, [[1] * 10] * 9)
    (0.0, 1.0)

    Args:
      ours: of each example, `bleu_counts`.
      theirs: of the same examples.
      draws: of as many examples each, with replacement; always the same ones.
    """
    pair = [np.asarray(counts, np.int64) for counts in (ours, theirs)]
    count = len(pair[0])
    difference = lambda weights: bleu_of((weights @ pair[0]).tolist()) - bleu_of((weights @ pair[1]).tolist())
    found = difference(np.ones(count, np.int64))
    rng = np.random.default_rng(0)
    drawn = np.array([difference(rng.multinomial(count, np.full(count, 1 / count))) for _ in range(draws)])
    strays = np.abs(drawn - drawn.mean()) >= abs(found)
    return found, float((strays.sum() + 1) / (draws + 1))
