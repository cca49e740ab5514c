import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.evaluation.scores import corpus_score
from flaxmask.evaluation.spans import span_counts, spans

TAGS = ("O", "B-person", "I-person", "B-place", "I-place")
sentences = st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), max_size=12), max_size=6)


def span_f1(found, wanted):
    return corpus_score("span_f1", span_counts(found, wanted))


@pytest.mark.slow  # where seqeval is: it brings scikit-learn, which nothing else needs
@settings(max_examples=300, deadline=None)
@given(sentences)
def test_it_is_seqeval_s(pairs):
    f1_score = pytest.importorskip("seqeval.metrics").f1_score
    found, wanted = ([[pair[side] for pair in sentence] for sentence in pairs] for side in (0, 1))
    if not any(spans(tags) for tags in (*found, *wanted)):
        assert span_f1(found, wanted) == 0.0
        return
    assert span_f1(found, wanted) == pytest.approx(100 * f1_score(wanted, found, zero_division=0))


def test_both_ends_and_the_name_must_be_right():
    wanted = [["B-person", "I-person", "O", "B-place"]]
    assert span_f1(wanted, wanted) == 100.0
    assert span_f1([["B-person", "O", "O", "B-place"]], wanted) == 50.0
    assert span_f1([["B-place", "I-place", "O", "B-place"]], wanted) == 50.0
