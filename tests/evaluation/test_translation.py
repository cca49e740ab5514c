import pytest

from flaxmask.evaluation.translation import translation_scores


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
