import numpy as np
import pytest

from flaxmask.evaluation.translation import bleu_counts, bleu_of, bootstrap, signatures, translation_scores

WORDS = ["a", "man", "in", "the", "red", "shirt", "is", "riding", "his", "old", "bike", "down", "to", "river", "dogs"]


def test_characters_count_where_there_are_no_words():
    scores = translation_scores(["猫坐在桌子上。"], [["猫坐在垫子上。"]])
    assert 30 < scores["character_bleu"] < 100
    assert 0 < scores["chrf"] < 100
    assert scores["bleu"] == 0.0


def test_any_of_several_references_will_do():
    texts = ["the cat sat on the mat", "a dog"]
    assert translation_scores(texts, [["no", texts[0]], [texts[1]]])["bleu"] == pytest.approx(100.0)
    with pytest.raises(ValueError, match="expected at least one, got none"):
        translation_scores([], [])


def texts(errors: float, seed: int, count: int = 120) -> tuple[list[str], list[list[str]]]:
    """Sentences of which each word is another one so often, and what they should be."""
    rng = np.random.default_rng(7)
    wanted = [rng.choice(WORDS, rng.integers(5, 12)).tolist() for _ in range(count)]
    rng = np.random.default_rng(seed)
    wrong = [[str(rng.choice(WORDS)) if rng.random() < errors else word for word in words] for words in wanted]
    return [" ".join(words) for words in wrong], [[" ".join(words)] for words in wanted]


@pytest.mark.parametrize("name", ["bleu", "tokenised_bleu", "character_bleu"])
def test_the_sum_of_what_sentences_count_is_the_corpus_s(name, caplog):
    hypotheses, references = texts(0.3, 0)
    hypotheses = [text + " ." for text in hypotheses]
    total = np.sum(bleu_counts(name, hypotheses, references), axis=0).tolist()
    assert bleu_of(total) == pytest.approx(translation_scores(hypotheses, references)[name], rel=1e-9)
    assert caplog.records == [], "nothing to say a thousand times"


def test_a_clear_difference_is_significant_and_none_is_not():
    counts = {
        (errors, seed): bleu_counts("tokenised_bleu", *texts(errors, seed)) for errors in (0.2, 0.4) for seed in (1, 2)
    }
    better, p = bootstrap(counts[0.2, 1], counts[0.4, 1])
    assert better > 10
    assert p < 0.01
    worse, same = bootstrap(counts[0.4, 1], counts[0.2, 1])
    assert (worse, same) == (-better, p)
    assert bootstrap(counts[0.2, 1], counts[0.2, 2])[1] > 0.05


@pytest.mark.slow
def test_p_values_of_equals_are_uniform():
    """Of systems of one quality, about one in ten has a p below 0.1."""
    counts = [bleu_counts("tokenised_bleu", *texts(0.3, seed, 200)) for seed in range(40)]
    found = [bootstrap(a, b, 200)[1] for a, b in zip(counts[::2], counts[1::2], strict=True)]
    assert np.mean(np.array(found) < 0.1) <= 0.3
    assert np.mean(np.array(found) > 0.5) >= 0.2


def test_signatures_say_the_tokenizer_and_how_many_references():
    one = signatures([["a cat"]])
    assert "nrefs:1" in one["bleu"]
    assert "tok:13a" in one["bleu"]
    assert "tok:none" in one["tokenised_bleu"]
    assert one["chrf"].startswith("nrefs:1|")
    assert "tok:char" in signatures([["a cat"], ["a dog", "the dog"]])["character_bleu"]
