"""What each form of applying a mask does to visible keys, to hidden ones, and to a query that sees nothing."""

import dataclasses
import typing

import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Tokens, attention, masks
from flaxmask.attention import forms
from flaxmask.models.config import TransformerConfig
from tests import toy

RNG = np.random.default_rng(0)
QUERY, KEY, VALUE = (RNG.normal(size=(2, 5, 2, 4)).astype(np.float32) for _ in range(3))
TOKENS = Tokens.of(np.array([[5, 6, 7, 0, 0], [5, 6, 7, 8, 9]]), layout="rows")
MASK = masks.causal & masks.segment
REAL = np.asarray(TOKENS.real)


def run(form, key=KEY, value=VALUE, mask=MASK, dtype=jnp.float32):
    arrays = (jnp.asarray(x, dtype) for x in (QUERY, key, value))
    return np.asarray(forms.attention(form, *arrays, mask, TOKENS, TOKENS), np.float32)


def ours():
    return np.asarray(attention.dot_product_attention(QUERY, KEY, VALUE, MASK, TOKENS, TOKENS))


@pytest.mark.parametrize("form", ["minus_infinity", "least", "added_1e9", "added_1e4", "renormalised"])
def test_correct_forms_are_one_where_a_query_sees_something(form):
    np.testing.assert_allclose(run(form)[REAL], ours()[REAL], atol=1e-6)


@pytest.mark.parametrize("form", ["multiplied", "literal", "memory", "none"])
def test_the_others_are_not(form):
    assert np.abs(run(form)[REAL] - ours()[REAL]).max() > 0.01


def test_a_query_that_sees_nothing():
    nothing = masks.causal & ~masks.causal
    mean = VALUE.mean(axis=1, keepdims=True) + np.zeros_like(VALUE)
    assert np.isnan(run("minus_infinity", mask=nothing)).all()
    np.testing.assert_allclose(run("least", mask=nothing), mean, atol=1e-6)
    np.testing.assert_allclose(run("added_1e4", mask=nothing), run("none"), atol=1e-3)
    for form in ("multiplied", "renormalised", "memory"):
        assert (run(form, mask=nothing) == 0).all()
    np.testing.assert_allclose(run("literal", mask=nothing), run("none"), atol=1e-6, err_msg="all are preferred alike")


@pytest.mark.parametrize(
    ("form", "moves"),
    [(name, name in ("multiplied", "renormalised", "literal", "none")) for name in forms.FORMS],
)
def test_whether_a_hidden_key_is_read(form, moves):
    """Of the last key, hidden from all queries before it: whether another one there moves their outputs."""
    other_key, other_value = KEY.copy(), VALUE.copy()
    other_key[1, 4] += 1.0
    other_value[1, 4] += 1.0
    far = np.abs(run(form, other_key, other_value)[1, :4] - run(form)[1, :4]).max()
    assert (far > 0) == moves
    assert far < 1e-6 or form != "renormalised", "what is hidden leaves the quotient, but for its rounding"


def test_multiplied_weights_do_not_add_up_and_hidden_ones_are_preferred_by_e():
    scores = jnp.zeros((1, 1, 1, 4))
    visible = jnp.array([True, True, False, False])[None, None, None]
    assert forms.multiplied(scores, visible)[0, 0, 0].tolist() == [0.25, 0.25, 0.0, 0.0]
    assert forms.renormalised(scores, visible)[0, 0, 0].tolist() == [0.5, 0.5, 0.0, 0.0]
    weights = forms.literal(scores, visible)[0, 0, 0]
    assert float(weights[2] / weights[0]) == pytest.approx(np.e, rel=1e-6)


@pytest.mark.parametrize("form", forms.FORMS)
def test_sixteen_bits(form):
    """−1e9 is −∞ in float16, and the least number is finite; visible rows stay finite in every form."""
    for dtype in (jnp.bfloat16, jnp.float16):
        assert np.isfinite(run(form, dtype=dtype)[REAL]).all()


def test_every_form_can_be_chosen():
    choices = typing.get_type_hints(TransformerConfig)["mask_form"]
    [names] = [typing.get_args(part) for part in typing.get_args(choices) if typing.get_args(part)]
    assert set(names) == set(forms.FORMS)
    with pytest.raises(ValueError, match="mask_form=none is an implementation of its own"):
        TransformerConfig(mask_form="none", attention="xla")


@pytest.mark.slow
def test_a_model_applies_its_form():
    batch = toy.batches(toy.examples(8), "static", 8)[0]
    out = {
        form: np.asarray(toy.model(dataclasses.replace(toy.CONFIG, mask_form=form)).apply(toy.params(), batch))
        for form in (None, "renormalised", "none")
    }
    real = np.asarray(batch.target.real)
    np.testing.assert_allclose(out["renormalised"][real][:, 1:], out[None][real][:, 1:], atol=1e-5)
    assert np.abs(out["none"][real][:, 1:] - out[None][real][:, 1:]).max() > 1e-3


def test_create_mask_is_segment_of_one_example_a_row(rng):
    source, target = (rng.integers(0, 3, shape).astype(np.int32) for shape in ((3, 5), (3, 4)))
    whole = masks.segment(Tokens.of(target), Tokens.of(source))
    np.testing.assert_array_equal(forms.create_mask((source > 0).astype(np.int32), target), whole)
