import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask import Tokens, masks
from flaxmask.masks.evaluate import evaluate


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_best_keys_of_the_own_example_before_the_query_are_chosen(seed):
    rng = np.random.default_rng(seed)
    segments = np.sort(rng.integers(1, 3, (2, 9)), axis=1).astype(np.int32)
    starts = np.array([[np.flatnonzero(row == s)[0] for s in row] for row in segments])
    tokens = Tokens(np.full((2, 9), 5, np.int32), segments, (np.arange(9) - starts).astype(np.int32))
    scores = rng.permutation(2 * 3 * 81).reshape(2, 3, 9, 9).astype(np.float32)
    found = np.asarray(evaluate(masks.parse("by(causal_top_4)"), tokens, tokens, scores))
    for b, n, q in np.ndindex(2, 3, 9):
        own = np.flatnonzero((segments[b] == segments[b, q]) & (np.arange(9) <= q))
        best = own[np.argsort(-scores[b, n, q, own])][:4]
        assert set(np.flatnonzero(found[b, n, q])) == set(best)


def test_scores_behind_the_query_choose_nothing(rng):
    """So that what is chosen gives nothing away."""
    tokens = Tokens.of(np.full((1, 8), 5))
    scores = rng.normal(size=(1, 1, 8, 8)).astype(np.float32)
    later = np.triu(np.ones((8, 8), bool), 1)
    other = np.where(later, rng.normal(size=(8, 8)).astype(np.float32), scores)
    mask = masks.parse("by(causal_top_4)")
    a, b = (np.asarray(evaluate(mask, tokens, tokens, x)) for x in (scores, other))
    np.testing.assert_array_equal(a, b)
    assert not (a & later).any()
