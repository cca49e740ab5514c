import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxmask import Batch, Tokens
from tests.toy import LAYOUTS, batches, examples


def int32(*rows):
    return np.array(rows, np.int32)


def test_of_numbers_the_real_tokens_wherever_they_stand():
    tokens = Tokens.of(np.array([[7, 8, 9, 0, 0], [0, 0, 7, 8, 0], [0, 0, 0, 0, 0]]))
    assert tokens.segments.tolist() == [[1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0] * 5]
    assert tokens.positions[0].tolist() == [0, 1, 2, 3, 4], "in rows, positions are slots, padding included"
    assert tokens.positions[1, 2:4].tolist() == [0, 1]
    assert tokens.prefix is None
    assert tokens.layout == "any"


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=4))
def test_of_positions_do_not_depend_on_padding(rows):
    tokens = Tokens.of(np.array(rows))
    for ids, positions in zip(rows, tokens.positions, strict=True):
        real = [p for i, p in zip(ids, positions, strict=True) if i]
        assert real == list(range(len(real)))


def test_of_takes_another_pad():
    assert Tokens.of(np.array([[0, 5, 9]]), pad_id=9).segments.tolist() == [[1, 1, 0]]


def test_a_pytree_with_a_static_layout():
    tokens = Tokens.of(np.array([[7, 8, 0]]), layout="rows")
    doubled = jax.tree.map(lambda x: x * 2, tokens)
    assert isinstance(doubled, Tokens)
    assert doubled.layout == "rows"
    assert doubled.ids.tolist() == [[14, 16, 0]]
    assert len(jax.tree.leaves(tokens)) == 3
    shapes = jax.eval_shape(lambda t: t, tokens)
    assert shapes.layout == "rows"
    batch = Batch(source=tokens)
    assert len(jax.tree.leaves(batch)) == 3
    assert jax.jit(lambda b: b.source.ids.sum())(batch) == 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (int32([1, 2]), int32([1]), int32([0, 1])),
            r"Tokens.segments: expected int32\[1, 2\], got int32\[1, 1\]",
        ),
        ((np.array([[1.0]]), int32([1]), int32([0])), r"Tokens.ids: expected int32\[1, 1\], got float64"),
        ((int32(1), int32(1), int32(0)), r"Tokens.ids: expected int32\[B, T\]"),
        (
            (int32([1]), int32([1]), int32([0]), int32([1])),
            r"Tokens.prefix: expected bool\[1, 1\], got int32",
        ),
        ((int32([1]), int32([1]), int32([0]), None, "static"), "layout: expected one of any, rows, packed"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tokens(*arguments)


def test_of_refuses_floats():
    with pytest.raises(ValueError, match=r"expected integers \[B, T\], got float64\[1, 1\]"):
        Tokens.of(np.array([[1.0]]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_our_layouts_keep_their_promise(layout):
    for batch in batches(examples(70), layout, 32):
        assert batch.source.layout == ("packed" if layout == "packed" else "rows")
        batch.source.check()
        batch.target.check()


@pytest.mark.parametrize(
    ("segments", "positions", "layout", "message"),
    [
        ([1, 0, 1], [0, 1, 1], "rows", "row 0, slot 2: a token after padding"),
        ([0, 1, 1], [0, 0, 1], "rows", "row 0, slot 1: a token after padding"),
        ([1, 1, 1], [0, 2, 1], "rows", "row 0, slot 1: a position"),
        ([1, 1, 2], [0, 1, 0], "rows", "row 0, slot 2: a second segment"),
        ([2, 2, 1], [0, 1, 0], "packed", "row 0, slot 2: segments that do not rise"),
        ([1, 1, 2], [0, 1, 2], "packed", "row 0, slot 2: a position"),
        ([1, 1, -1], [0, 1, 2], "packed", "row 0, slot 2: an empty slot"),
    ],
)
def test_check_names_the_broken_promise(segments, positions, layout, message):
    tokens = Tokens(int32([5, 5, 5]), int32(segments), int32(positions), None, layout)
    with pytest.raises(ValueError, match=message):
        tokens.check()
    assert Tokens(int32([5, 5, 5]), int32(segments), int32(positions)).check() is not None


def test_check_accepts_any_position_on_padding():
    Tokens(int32([5, 5, 0]), int32([1, 1, 0]), int32([0, 1, 77]), None, "rows").check()
