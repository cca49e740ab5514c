import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxmask import masks
from flaxmask.masks.parse import PRIMITIVES

PLAIN = [masks.full, masks.padding, masks.causal, masks.segment, masks.prefix]


def formulas():
    """Formulas of any depth."""
    atoms = st.one_of(
        st.sampled_from(PLAIN),
        st.builds(masks.window, st.integers(0, 12), st.integers(0, 3)),
        st.builds(masks.strided, st.integers(1, 4)),
        st.builds(masks.dilated, st.integers(0, 3), st.integers(1, 3)),
        st.builds(masks.global_tokens, st.integers(0, 3)),
        st.builds(masks.random_blocks, st.integers(1, 3), st.integers(0, 2), st.integers(0, 5)),
        st.builds(_table, st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**16 - 1)),
    )
    join = lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    )
    return st.recursive(atoms, join, max_leaves=8)


def _table(rows, columns, bits):
    cells = [bool(bits >> i & 1) for i in range(rows * columns)]
    return masks.explicit(np.array(cells, bool).reshape(rows, columns))


@given(formulas())
def test_parse_is_the_inverse_of_str(mask):
    assert masks.parse(str(mask)) == mask
    assert hash(masks.parse(str(mask))) == hash(mask)


@given(formulas(), formulas(), formulas())
def test_and_and_or_flatten(a, b, c):
    assert (a & b) & c == a & (b & c)
    assert (a | b) | c == a | (b | c)


def test_the_contract_s_example():
    mask = masks.causal & masks.segment & ~masks.window(8)
    assert str(mask) == "causal & segment & ~window(8)"
    assert repr(mask) == str(mask)
    assert masks.parse("causal & (segment & ~window(8))") == mask
    assert str(masks.window(8, 2)) == "window(8, 2)"
    assert masks.window(8, 0) == masks.window(8)
    assert str(masks.segment & (masks.causal | masks.prefix)) == "segment & (causal | prefix)"
    assert str(~(masks.causal & masks.segment)) == "~(causal & segment)"


def test_equal_by_form_alone():
    assert masks.causal & masks.segment != masks.segment & masks.causal
    assert masks.window(3) != masks.window(4)
    assert len({masks.causal & masks.segment, masks.causal & masks.segment}) == 1


def test_every_primitive_is_known_to_the_parser():
    positions = {"causal", "window", "strided", "dilated", "global_tokens", "random_blocks", "explicit"}
    assert set(PRIMITIVES) == {"full", "padding", "segment", "prefix", "by"} | positions
    for mask in PLAIN:
        assert masks.parse(str(mask)) == mask


@pytest.mark.parametrize("join", [lambda a, b: a and b, lambda a, b: a or b, lambda a, b: not a])
def test_and_or_not_raise(join):
    with pytest.raises(TypeError, match="combine masks with & | ~".replace("|", r"\|")):
        join(masks.causal, masks.segment)


def test_other_things_do_not_join():
    with pytest.raises(TypeError):
        masks.causal & True


@pytest.mark.parametrize("left", [-1, 1.5, True, "3"])
def test_a_window_takes_integers_from_zero(left):
    with pytest.raises(ValueError, match="window: left: expected an integer ≥ 0"):
        masks.window(left)


def test_a_formula_is_frozen():
    with pytest.raises(AttributeError):
        masks.window(3).left = 4


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("causl & segment", 1, "no mask is called 'causl'; did you mean 'causal'?"),
        ("causal & segmnt", 10, "no mask is called 'segmnt'; did you mean 'segment'?"),
        ("xyzzy", 1, "no mask is called 'xyzzy'; known: full, padding, causal, segment, prefix, window, strided"),
        ("window(8", 9, "expected ',', found 'the end'"),
        ("window(-1)", 1, "window: left: expected an integer ≥ 0, got -1"),
        ("window", 1, "window takes (left, right=0)"),
        ("window(1, 2, 3)", 1, "window takes (left, right=0)"),
        ("causal(3)", 1, "causal takes no arguments and no brackets"),
        ("causal & & segment", 10, "expected a mask, found '&'"),
        ("causal segment", 8, "expected & or |, found 'segment'"),
        ("(causal", 8, "expected ')', found 'the end'"),
        ("", 1, "expected a mask, found 'the end'"),
        ("causal + segment", 8, "unexpected '+'"),
        ("__import__('os')", 1, "no mask is called '__import__'"),
        ("strided(0)", 1, "strided: step: expected an integer ≥ 1, got 0"),
        ("dilated(1, 0)", 1, "dilated: step: expected an integer ≥ 1, got 0"),
        ("random_blocks(0, 1)", 1, "random_blocks: size: expected an integer ≥ 1, got 0"),
        ("explicit(2x2)", 1, "explicit takes (ROWSxCOLUMNS:base64), as it is printed"),
        ("explicit(9x9:gA==)", 1, "explicit: expected 11 bytes for 9x9, got 1"),
        ("by(nothing)", 4, "by: no mask by content is called 'nothing'"),
        ("window(left)", 8, "expected an integer, found 'left'"),
    ],
)
def test_a_fault_is_shown_with_its_place(text, place, message):
    with pytest.raises(ValueError, match=re.escape(f"mask {text!r}, character {place}: {message}")):
        masks.parse(text)


def test_a_table_is_equal_and_hashed_by_its_bits():
    table = np.array([[True, False], [True, True]])
    mask = masks.explicit(table)
    assert mask == masks.explicit(table.copy())
    assert hash(mask) == hash(masks.explicit(table.copy()))
    assert mask != masks.explicit(~table)
    np.testing.assert_array_equal(mask.array, table)
    assert str(mask) == "explicit(2x2:sA==)"


@pytest.mark.parametrize("table", [[[True]], np.ones((2, 2)), np.ones(4, bool)])
def test_a_table_is_a_boolean_numpy_array(table):
    with pytest.raises(ValueError, match=r"explicit: expected a NumPy array of bool\[queries, keys\]"):
        masks.explicit(table)


def test_a_mask_by_content_is_found_by_its_name():
    @masks.content
    def loudest(scores, query, key):
        return scores == scores.max(axis=-1, keepdims=True)

    assert str(loudest & masks.causal) == "by(loudest) & causal"
    assert masks.parse("by(loudest) & causal") == loudest & masks.causal
    with pytest.raises(ValueError, match="another mask by content is called 'loudest'"):
        masks.content(type(loudest.function)(loudest.function.__code__, {}, "loudest"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(" * 100_000 + "causal" + ")" * 100_000, "more than 50 brackets and ~ within each other"),
        ("~" * 100_000 + "causal", "more than 50 brackets and ~ within each other"),
        (f"window({'9' * 5000})", "found one of 5000 digits"),
        (f"window({10**19})", "expected at most 2**30"),
        ("window(٣)", "unexpected '٣'"),
        ("window(²)", "unexpected '²'"),
        ("ϲausal", "unexpected 'ϲ'"),
        ("causal ∧ segment", "unexpected '∧'"),
        ("causal\u200b", "unexpected"),
        ("a" * 100_000, "no mask is called 'aaaaaa"),
        ("explicit(99999999999x1:gA==)", "explicit takes"),
        ("__import__('os')", "no mask is called '__import__'"),
    ],
)
def test_formulas_that_mean_harm_are_refused_in_a_short_line(text, said):
    with pytest.raises(ValueError) as caught:
        masks.parse(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_long_formulas_are_read_in_a_moment():
    many = " & ".join(["causal", "segment"] * 20_000)
    assert len(masks.parse(many).terms) == 40_000
    deep = "~(" * 25 + "causal | segment" + ")" * 25
    assert masks.parse(str(masks.parse(deep))) == masks.parse(deep)
