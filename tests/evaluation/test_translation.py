import numpy as np
import pytest
from sacrebleu.metrics.chrf import CHRF

from flaxmask.evaluation.scores import corpus_score
from flaxmask.evaluation.translation import SCORES, signatures, translation_counts

WORDS = ["a", "man", "in", "the", "red", "shirt", "is", "riding", "his", "old", "bike", "down", "to", "river", "dogs"]


def scores(hypotheses, references):
    return {name: corpus_score(name, counts) for name, counts in translation_counts(hypotheses, references).items()}


def test_characters_count_where_there_are_no_words():
    found = scores(["猫坐在桌子上。"], [["猫坐在垫子上。"]])
    assert 30 < found["character_bleu"] < 100
    assert 0 < found["chrf"] < 100
    assert found["bleu"] == 0.0


def test_any_of_several_references_will_do():
    texts = ["the cat sat on the mat", "a dog"]
    assert scores(texts, [["no", texts[0]], [texts[1]]])["bleu"] == pytest.approx(100.0)
    with pytest.raises(ValueError, match="expected at least one, got none"):
        translation_counts([], [])


def texts(errors: float, seed: int, count: int = 120) -> tuple[list[str], list[list[str]]]:
    """Sentences of which each word is another one so often, and what they should be."""
    rng = np.random.default_rng(7)
    wanted = [rng.choice(WORDS, rng.integers(5, 12)).tolist() for _ in range(count)]
    rng = np.random.default_rng(seed)
    wrong = [[str(rng.choice(WORDS)) if rng.random() < errors else word for word in words] for words in wanted]
    return [" ".join(words) for words in wrong], [[" ".join(words)] for words in wanted]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", SCORES)
def test_the_sum_of_what_sentences_count_is_the_corpus_s(name, several, caplog):
    hypotheses, references = texts(0.3, 0)
    hypotheses = [text + " ." for text in hypotheses]
    columns = [[texts[0] for texts in references]]
    if several:
        others = texts(0.2, 1)[0]
        references = [[*texts, other] for texts, other in zip(references, others, strict=True)]
        columns.append(others)
    found = corpus_score(name, translation_counts(hypotheses, references)[name])
    assert found == pytest.approx(SCORES[name].corpus_score(hypotheses, columns).score, rel=1e-9)
    assert 20 < found < 90
    assert caplog.records == [], "nothing to say a thousand times"


def test_nothing_written_scores_nothing():
    assert scores([""], [["a b"]]) == dict.fromkeys(SCORES, 0.0)
    assert CHRF().corpus_score([""], [["a b"]]).score == 0.0


def test_signatures_say_the_tokenizer_and_how_many_references():
    one = signatures([["a cat"]])
    assert "nrefs:1" in one["bleu"]
    assert "tok:13a" in one["bleu"]
    assert "tok:none" in one["tokenised_bleu"]
    assert one["chrf"].startswith("nrefs:1|")
    assert "tok:char" in signatures([["a cat"], ["a dog", "the dog"]])["character_bleu"]
