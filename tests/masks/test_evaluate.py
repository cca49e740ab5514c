import inspect

import flax.linen as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask import Tokens, masks
from flaxmask.masks import formula, positions
from tests.masks.test_formula import formulas
from tests.toy import batches, examples, random_tokens


def oracle(mask, query: Tokens, key: Tokens) -> np.ndarray:
    """The contract's definitions, in plain loops."""
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    out = np.zeros((batch, 1, queries, keys), bool)
    for b in range(batch):
        for q in range(queries):
            for k in range(keys):
                out[b, 0, q, k] = _cell(mask, query, key, b, q, k) and key.segments[b, k] >= 0
    return out


def _cell(mask, query, key, b, q, k) -> bool:
    at = lambda tokens, i: (int(tokens.segments[b, i]), int(tokens.positions[b, i]))
    (q_segment, q_position), (k_segment, k_position) = at(query, q), at(key, k)
    match mask:
        case formula.Full():
            return True
        case formula.Padding():
            return k_segment > 0
        case positions.Causal():
            return k_position <= q_position
        case formula.Segment():
            return q_segment == k_segment and k_segment > 0
        case formula.Prefix():
            return key.prefix is not None and bool(key.prefix[b, k])
        case positions.Window(left, right):
            return q_position - left <= k_position <= q_position + right
        case positions.Strided(step):
            return (q_position - k_position) % step == 0
        case positions.Dilated(width, step):
            distance = abs(q_position - k_position)
            return distance <= width * step and distance % step == 0
        case positions.GlobalTokens(count):
            return q_position < count or k_position < count
        case positions.RandomBlocks(size, count, seed):
            return _drawn(size, count, seed, q_position, k_position)
        case positions.Explicit():
            table = mask.array
            return q_position < table.shape[0] and k_position < table.shape[1] and bool(table[q_position, k_position])
        case formula.Not(term):
            return not _cell(term, query, key, b, q, k)
        case formula.And(terms):
            return all(_cell(term, query, key, b, q, k) for term in terms)
        case formula.Or(terms):
            return any(_cell(term, query, key, b, q, k) for term in terms)
    raise AssertionError(mask)


def _drawn(size, count, seed, q_position, k_position) -> bool:
    earlier, later = sorted((q_position // size, k_position // size))
    if earlier < 0:
        return False
    draws = ((seed * 0x9E3779B9 + n * 0x85EBCA6B + 1) % 2**32 for n in range(count))
    return any(_mixed(_mixed(later ^ start)) % (later + 1) == earlier for start in draws)


def _mixed(x: int) -> int:
    x = ((x ^ x >> 16) * 0x7FEB352D) % 2**32
    x = ((x ^ x >> 15) * 0x846CA68B) % 2**32
    return x ^ x >> 16


@settings(max_examples=12, deadline=None)
@given(formulas(), st.integers(0, 2**32 - 1), st.sampled_from([(3, 3), (2, 4), (5, 1)]))
def test_evaluation_is_the_oracle_s(mask, seed, lengths):
    rng = np.random.default_rng(seed)
    query, key = (random_tokens(rng, 2, length) for length in lengths)
    for pair in ((query, key), (key, key)):
        seen = mask(*pair)
        assert seen.dtype == bool
        assert seen.shape == (2, 1, pair[0].shape[1], pair[1].shape[1])
        np.testing.assert_array_equal(seen, oracle(mask, *pair))


@settings(max_examples=25, deadline=None)
@given(formulas(), st.integers(0, 2**32 - 1), st.sampled_from(["static", "packed"]))
def test_a_promised_layout_changes_no_mask(mask, seed, layout):
    batch = batches(examples(6, seed, longest=4), layout, 6, length=4, pack_length=8)[0]
    tokens = batch.target
    np.testing.assert_array_equal(mask(tokens, tokens), oracle(mask, tokens, tokens))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["causal & segment", "~causal & segment", "segment & causal & window(1)"]),
)
def test_in_rows_the_position_of_padding_never_matters(seed, text):
    rng = np.random.default_rng(seed)
    tokens = batches(examples(3, seed, longest=5), "static", 3)[0].target
    anywhere = np.where(tokens.real, tokens.positions, rng.integers(0, 99, tokens.shape)).astype(np.int32)
    other = Tokens(tokens.ids, tokens.segments, anywhere, None, "rows").check()
    np.testing.assert_array_equal(masks.parse(text)(other, other), oracle(masks.parse(text), other, other))


def test_in_rows_causal_is_the_causal_mask_of_linen():
    tokens = Tokens.of(np.array([[5, 6, 7, 0], [5, 6, 0, 0]]), layout="rows")
    np.testing.assert_array_equal(masks.causal(tokens, tokens), nn.make_causal_mask(tokens.ids, dtype=bool))
    both = nn.combine_masks(nn.make_causal_mask(tokens.ids), masks.segment(tokens, tokens), dtype=bool)
    np.testing.assert_array_equal((masks.causal & masks.segment)(tokens, tokens), both)


@pytest.mark.parametrize("text", ["full", "~segment", "~causal", "prefix | ~prefix", "padding | ~padding"])
def test_an_empty_slot_is_never_visible(text):
    filled = Tokens.of(np.array([[5, 6]]))
    empty = Tokens.empty(1, 3)
    assert not masks.parse(text)(filled, empty).any()


@pytest.mark.parametrize("kind", [formula.Padding, positions.Causal, formula.Segment, formula.Prefix])
def test_drawings_in_docstrings_are_true(kind):
    """Each docstring's picture is of the tokens that its shape suggests: 3 or 4 slots, the last one padding."""
    drawn = [line.split() for line in inspect.getdoc(kind).splitlines() if line[:1] in "■·" and line]
    width = len(drawn[0])
    segments = {3: [1, 1, 0], 4: [1, 1, 2, 0]}[width] if kind in (formula.Padding, formula.Segment) else [1] * width
    array = lambda values: np.array([values], np.int32)
    prefix = np.array([[True, True] + [False] * (width - 2)])
    key = Tokens(array([5] * width), array(segments), array(range(width)), prefix)
    seen = kind()(key, key)[0, 0][: len(drawn)]
    assert [["■" if cell else "·" for cell in row] for row in seen] == drawn


def test_two_batch_sizes_are_refused():
    one, two = Tokens.of(np.ones((1, 2), int)), Tokens.of(np.ones((2, 2), int))
    with pytest.raises(ValueError, match="expected one batch size, got 1 and 2"):
        masks.causal(one, two)


def test_only_formulas_are_evaluated():
    from flaxmask.masks.evaluate import evaluate

    tokens = Tokens.of(np.ones((1, 2), int))
    with pytest.raises(Exception, match="mask"):
        evaluate(np.ones((2, 2)), tokens, tokens)
