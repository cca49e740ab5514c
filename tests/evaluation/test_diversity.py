import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flaxmask.evaluation.diversity import distinct, self_bleu
from flaxmask.evaluation.loops import repeats, unending
from flaxmask.evaluation.scores import corpus_score

IDS = st.lists(st.integers(0, 6), max_size=12)


@given(st.lists(IDS, min_size=1, max_size=5))
def test_grams_that_stood_there_before_are_counted_as_by_hand(written):
    outputs = [np.array(ids, np.int32) for ids in written]
    for ids, (again, count) in zip(written, repeats(outputs, (0, 2)).tolist(), strict=True):
        tokens = [i for i in ids if i not in (0, 2)]
        grams = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
        assert count == len(grams)
        assert again == sum(gram in grams[:i] for i, gram in enumerate(grams))
    assert unending(outputs, 2).tolist() == [[int(2 not in ids), 1] for ids in written]


def test_equal_texts_are_as_like_as_can_be_and_others_are_not():
    text = "a man rides a red bicycle down the street"
    same = [[text] * 3]
    other = [[text, "two dogs play in the deep white snow", "nobody waits for his late evening bus"]]
    assert corpus_score("self_bleu", self_bleu(same)) > 99.9
    assert corpus_score("self_bleu", self_bleu(other)) < 10
    assert corpus_score("distinct_2", distinct(same)) < 34
    assert corpus_score("distinct_2", distinct(other)) == 100
