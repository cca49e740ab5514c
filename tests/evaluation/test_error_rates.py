import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxmask.evaluation.error_rates import sequence_error_rate, symbol_error_rate

texts = st.lists(st.sampled_from("ABC"), min_size=1, max_size=5).map(" ".join)


def distance(a: list[str], b: list[str]) -> int:
    """Edit distance by its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_rates_are_their_definitions(pairs):
    hypotheses, references = zip(*pairs, strict=True)
    edits = sum(distance(h.split(), r.split()) for h, r in pairs)
    symbols = sum(len(r.split()) for r in references)
    assert symbol_error_rate(hypotheses, [[r] for r in references]) == pytest.approx(100 * edits / symbols)
    wrong = 100 * sum(h != r for h, r in pairs) / len(pairs)
    assert sequence_error_rate(hypotheses, [[r] for r in references]) == pytest.approx(wrong)


def test_the_closest_reference_counts():
    assert symbol_error_rate(["A B"], [["C C C", "A B"]]) == 0.0
    assert sequence_error_rate(["A B"], [["C C C", "A B"]]) == 0.0
    assert symbol_error_rate([""], [["A B"]]) == 100.0


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        symbol_error_rate(["A"], [["A"], ["B"]])
    with pytest.raises(ValueError, match="expected at least one"):
        sequence_error_rate([], [])
