import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from flaxmask import Tokens, masks
from flaxmask.masks import And, Not, Or, meaning
from flaxmask.masks.evaluate import evaluate
from tests.masks.test_formula import formulas
from tests.toy import random_tokens

parse = masks.parse

IDENTITIES = [
    ("window(0, 0) & causal", "window(0, 0)"),
    ("~(causal & segment)", "~causal | ~segment"),
    ("~(causal | segment)", "~causal & ~segment"),
    ("~~prefix", "prefix"),
    ("causal & causal", "causal"),
    ("causal | ~causal", "full"),
    ("segment & ~segment", "~full"),
    ("segment & padding", "segment"),
    ("segment | padding", "padding"),
    ("causal & (segment | prefix)", "causal & segment | causal & prefix"),
    ("causal | causal & prefix", "causal"),
    ("causal & (causal | prefix)", "causal"),
    ("window(2) & window(5)", "window(2)"),
    ("window(2) | window(5)", "window(5)"),
    ("window(5, 2) & window(2, 5)", "window(2, 2)"),
    ("window(3, 3) & causal", "window(3)"),
    ("causal & ~window(4)", "causal & ~window(4, 4)"),
    ("window(3) | window(0, 3)", "window(3, 3)"),
    ("strided(1)", "full"),
    ("strided(2) & strided(3)", "strided(6)"),
    ("strided(4) | strided(2)", "strided(2)"),
    ("dilated(3, 1)", "window(3, 3)"),
    ("dilated(2, 3)", "window(6, 6) & strided(3)"),
    ("dilated(0, 5)", "window(0)"),
    ("global_tokens(2) | global_tokens(5)", "global_tokens(5)"),
    ("random_blocks(4, 2) | ~random_blocks(4, 2)", "full"),
    ("random_blocks(4, 2) & causal & causal", "causal & random_blocks(4, 2)"),
    ("explicit(2x2:8A==) & window(0)", "explicit(2x2:kA==)"),
]


@pytest.mark.parametrize(("a", "b"), IDENTITIES)
def test_identities_are_proved(a, b):
    assert masks.equivalent(parse(a), parse(b)) is True
    assert masks.implies(parse(a), parse(b)) is True
    assert masks.implies(parse(b), parse(a)) is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("causal", "segment"),
        ("window(3)", "window(4)"),
        ("window(0, 1)", "window(1)"),
        ("strided(2)", "strided(4)"),
        ("strided(30)", "strided(60)"),
        ("global_tokens(2)", "global_tokens(3)"),
        ("padding", "segment"),
        ("dilated(9, 2)", "strided(2)"),
        ("full", "causal | window(0, 99)"),
        ("global_tokens(3) & causal", "global_tokens(3)"),
    ],
)
def test_what_differs_is_told_apart(a, b):
    assert masks.equivalent(parse(a), parse(b)) is False


def test_implication_has_a_direction():
    assert masks.implies(masks.segment, masks.padding) is True
    assert masks.implies(masks.padding, masks.segment) is False
    assert masks.implies(parse("window(3)"), masks.causal) is True


def test_what_cannot_be_decided_is_unknown():
    assert masks.equivalent(parse("random_blocks(2, 1)"), parse("random_blocks(2, 2)")) == "unknown"
    assert masks.equivalent(parse("random_blocks(2, 1)"), masks.causal) == "unknown"
    assert masks.equivalent(parse("strided(999983) & strided(999979)"), masks.full) == "unknown"


def exhaustive(length: int = 6) -> tuple[Tokens, Tokens]:
    """Tokens of every kind that a cell of length 6 can meet: all positions under all segments and flags."""
    cells = list(itertools.product(range(length), [0, 1, 2], [False, True]))
    array = lambda i, kind: np.array([[cell[i] for cell in cells]], kind)
    tokens = Tokens(array(0, np.int32), array(1, np.int32), array(0, np.int32), array(2, bool))
    return tokens, tokens


@settings(max_examples=150, deadline=None)
@given(formulas(), formulas())
def test_nothing_is_called_equal_that_length_6_tells_apart(a, b):
    query, key = exhaustive()
    left, right = (np.asarray(evaluate(mask, query, key)) for mask in (a, b))
    if masks.equivalent(a, b) is True:
        np.testing.assert_array_equal(left, right)
    if masks.implies(a, b) is True:
        assert not (left & ~right).any()
    if (left != right).any():
        assert masks.equivalent(a, b) is not True


@settings(max_examples=100, deadline=None)
@given(formulas())
def test_a_simpler_formula_means_the_same(mask):
    query, key = exhaustive()
    simple = mask.simplify()
    np.testing.assert_array_equal(evaluate(simple, query, key), evaluate(mask, query, key))
    assert len(str(simple)) <= max(len(str(mask)), len("~full"))


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("causal & full & segment", "causal & segment"),
        ("segment & padding & causal", "segment & causal"),
        ("causal & segment & causal", "causal & segment"),
        ("causal | causal", "causal"),
        ("~~causal", "causal"),
        ("window(5, 2) & window(2, 5) & segment", "window(2, 2) & segment"),
        ("causal | full", "full"),
        ("segment & ~segment", "~full"),
        ("causal & (causal | prefix)", "causal"),
        ("window(3) & causal", "window(3)"),
    ],
)
def test_simplify_leaves_out_what_says_nothing(long, short):
    assert str(parse(long).simplify()) == short


@pytest.mark.parametrize("shape", ["{0} & causal", "~{0}", "~(causal & ~{0}) & segment", "causal | ~(~{0} | prefix)"])
def test_the_ceiling_sees_whatever_scores_could_show(shape):
    rng = np.random.default_rng(0)
    tokens = random_tokens(rng, 2, 5)
    mask = _filled(shape, masks.By(lambda scores, query, key: scores > 0))
    ceiling = meaning.ceiling(mask)
    seen = [np.asarray(evaluate(mask, tokens, tokens, rng.normal(size=(2, 1, 5, 5)))) for _ in range(60)]
    np.testing.assert_array_equal(np.logical_or.reduce(seen), ceiling(tokens, tokens))


def _filled(shape, content):
    """The formula with a mask by content in place of `{0}`, which is parsed as `window(77)`."""
    swap = lambda m: content if m == masks.window(77) else m
    inside = lambda m: (
        type(m)(tuple(map(inside, m.terms)))
        if isinstance(m, And | Or)
        else Not(inside(m.term))
        if isinstance(m, Not)
        else swap(m)
    )
    return inside(masks.parse(shape.format("window(77)")))
