import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask import Tokens, masks
from tests.masks.test_evaluate import oracle
from tests.masks.test_formula import formulas
from tests.toy import batches, examples, random_tokens


def truth(mask, query, key, block_q, block_k):
    """0, 1 or 2 of each block, from every cell."""
    cells = oracle(mask, query, key)
    out = np.ones((len(cells), 1, -(-cells.shape[2] // block_q), -(-cells.shape[3] // block_k)), int)
    for b, _, i, j in np.ndindex(out.shape):
        block = cells[b, 0, i * block_q : (i + 1) * block_q, j * block_k : (j + 1) * block_k]
        out[b, 0, i, j] = 2 if block.all() else 0 if not block.any() else 1
    return out


@settings(max_examples=8, deadline=None)
@given(formulas(), st.integers(0, 2**32 - 1), st.sampled_from([(4, 6), (5, 3)]))
def test_what_is_proved_is_true(mask, seed, lengths):
    rng = np.random.default_rng(seed)
    query, key = (random_tokens(rng, 2, length) for length in lengths)
    found, wanted = np.asarray(mask.blocks(query, key, 2, 2)), truth(mask, query, key, 2, 2)
    assert found.shape == wanted.shape
    assert ((found == 1) | (found == wanted)).all()


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["full", "padding", "causal", "segment", "window(3)", "window(1, 2)", "global_tokens(2)"]),
    st.integers(0, 999),
    st.sampled_from(["static", "packed"]),
    st.sampled_from([(1, 1), (2, 3), (4, 4)]),
)
def test_in_rows_and_packs_everything_is_proved_of_the_primitives(text, seed, layout, sizes):
    tokens = batches(examples(6, seed, longest=5), layout, 6, length=8, pack_length=16)[0].source
    if text not in ("full", "padding", "segment") and layout == "packed":
        return  # positions start again within a block: bounds cannot know
    found, wanted = (
        np.asarray(masks.parse(text).blocks(tokens, tokens, *sizes)),
        truth(masks.parse(text), tokens, tokens, *sizes),
    )
    if text == "segment":  # a block that holds two examples has bounds, not a list
        found, wanted = found != 0, np.where((wanted == 0) & (found == 1), 1, wanted) != 0
    np.testing.assert_array_equal(found, wanted)


ATOMS = "full padding causal segment prefix window(1) window(0,1) strided(2) dilated(1,2) global_tokens(1)"


@pytest.mark.parametrize("text", ATOMS.split())
def test_what_is_proved_of_an_atom_is_true_of_many_tokens(text):
    """Without this a random formula may hide a wrong atom behind others."""
    mask, rng = masks.parse(text), np.random.default_rng(0)
    for _ in range(25):
        query, key = random_tokens(rng, 4, 4), random_tokens(rng, 4, 6)
        found, wanted = np.asarray(mask.blocks(query, key, 2, 2)), truth(mask, query, key, 2, 2)
        assert ((found == 1) | (found == wanted)).all()


def test_causal_packed_rows_skip_what_is_above_the_diagonal_and_between_examples():
    segments = np.repeat([[1, 2, 3, 4]], 4, axis=1).astype(np.int32)
    segments = np.sort(segments, axis=1)
    tokens = Tokens(segments, segments, np.tile(np.arange(4, dtype=np.int32), (1, 4)), None, "packed").check()
    found = (masks.causal & masks.segment).blocks(tokens, tokens, 2, 2)[0, 0]
    assert (np.asarray(found) > 0).sum() == 4 * 3, "of each example's 2 × 2 blocks, three"
    assert (np.asarray(found) == 2).sum() == 4


def test_an_empty_slot_is_proved_hidden_under_every_formula():
    filled, empty = Tokens.of(np.array([[5, 6]])), Tokens.empty(1, 4)
    for text in ("full", "~segment", "causal | ~causal"):
        assert not masks.parse(text).blocks(filled, empty, 2, 2).any()
    half = Tokens(*(np.concatenate([np.asarray(a), np.asarray(b)], axis=1) for a, b in zip(
        (filled.ids, filled.segments, filled.positions), (empty.ids, empty.segments, empty.positions), strict=True
    )))  # fmt: skip
    assert masks.full.blocks(filled, half, 2, 3).tolist() == [[[[1, 0]]]]


def test_a_block_has_a_size():
    tokens = Tokens.of(np.array([[5, 6]]))
    with pytest.raises(ValueError, match="block_k: expected at least 1, got 0"):
        masks.full.blocks(tokens, tokens, 1, 0)
