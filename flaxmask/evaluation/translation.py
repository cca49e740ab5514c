"""Scores of translations, by sacreBLEU (Post 2018)."""

from collections.abc import Sequence
from typing import Any

import sacrebleu


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
    most = max(map(len, references))
    # sacreBLEU takes the first references of all examples, then the second of those that have one.
    columns: Any = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    return {
        "bleu": sacrebleu.corpus_bleu(hypotheses, columns).score,
        # Of text that is tokenised already; `force` says that this is meant.
        "tokenised_bleu": sacrebleu.corpus_bleu(hypotheses, columns, tokenize="none", force=True).score,
        "character_bleu": sacrebleu.corpus_bleu(hypotheses, columns, tokenize="char").score,
        "chrf": sacrebleu.corpus_chrf(hypotheses, columns).score,
    }
