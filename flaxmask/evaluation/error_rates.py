"""Error rates of sequences of symbols against one or several references."""

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein


def symbol_error_rate(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Edits a reference symbol, in percent, each hypothesis against the reference closest to it.

    Symbols are separated by spaces. Of references equally close the first counts. Over phonemes: PER.

    >>> symbol_error_rate(["K AE T", "D AO"], [["K AE T"], ["D AA G Z", "D AO G Z"]])
    28.571428571428573
    """
    edits = symbols = 0
    for hypothesis, texts in _pairs(hypotheses, references):
        distances = [(Levenshtein.distance(hypothesis.split(), text.split()), text) for text in texts]
        distance, closest = min(distances, key=lambda pair: pair[0])
        edits += distance
        symbols += len(closest.split())
    return 100.0 * edits / symbols


def sequence_error_rate(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Hypotheses that equal none of their references, in percent. Over words' pronunciations: WER.

    >>> sequence_error_rate(["K AE T", "D AO G"], [["K AE T"], ["D AA G", "D AO G Z"]])
    50.0
    """
    wrong = sum(hypothesis not in texts for hypothesis, texts in _pairs(hypotheses, references))
    return 100.0 * wrong / len(hypotheses)


def _pairs(hypotheses, references):
    if not hypotheses:
        raise ValueError("hypotheses: expected at least one, got none")
    return zip(hypotheses, references, strict=True)
