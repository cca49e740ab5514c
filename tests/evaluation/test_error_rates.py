import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxmask.evaluation.error_rates import sequence_errors, symbol_errors

texts = st.lists(st.sampled_from("ABC"), min_size=1, max_size=5).map(" ".join)


def distance(a: list[str], b: list[str]) -> int:
    """Edit distance by its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_counts_are_their_definitions(pairs):
    hypotheses, references = zip(*pairs, strict=True)
    found = symbol_errors(hypotheses, [[r] for r in references])
    np.testing.assert_array_equal(found, [(distance(h.split(), r.split()), len(r.split())) for h, r in pairs])
    np.testing.assert_array_equal(
        sequence_errors(hypotheses, [[r] for r in references]), [(h != r, 1) for h, r in pairs]
    )


def test_the_closest_reference_counts():
    assert symbol_errors(["A B"], [["C C C", "A B"]]).tolist() == [[0, 2]]
    assert sequence_errors(["A B"], [["C C C", "A B"]]).tolist() == [[0, 1]]
    assert symbol_errors([""], [["A B"]]).tolist() == [[2, 2]]


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        symbol_errors(["A"], [["A"], ["B"]])
    with pytest.raises(ValueError, match="expected at least one"):
        sequence_errors([], [])
