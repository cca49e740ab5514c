"""Planted faults: wrong masks and wrong ways of applying right ones. Each must be caught, with its positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import audit, masks
from tests.audit import specimen
from tests.audit.specimen import RIGHT, SOURCE, TARGET


def both(formula):
    return np.asarray(masks.parse(formula)(TARGET, TARGET))


def cross(formula):
    return np.asarray(masks.parse(formula)(TARGET, SOURCE))


def encoder(formula):
    return np.asarray(masks.parse(formula)(SOURCE, SOURCE))


def queries(tokens, mask):
    """The mask's padding term read off the query instead of the key."""
    return np.broadcast_to(tokens.real[:, None, :, None], mask.shape)


MASKS = {
    "causal off by one, into the future": {"decoder": both("segment & window(9, 1)")},
    "causal mask transposed": {"decoder": np.swapaxes(RIGHT["decoder"], 2, 3)},
    "causal mask missing": {"decoder": both("segment")},
    "segment mask missing in the decoder": {"decoder": both("causal & padding")},
    "segment mask missing in the encoder": {"encoder": encoder("padding")},
    "segment mask missing in cross-attention": {"cross": cross("padding")},
    "padding mask on queries, encoder": {"encoder": queries(SOURCE, RIGHT["encoder"])},
    "padding mask on queries, cross": {"cross": queries(TARGET, RIGHT["cross"])},
    "cross mask missing": {"cross": cross("full")},
    "cross mask taken from the target": {
        "cross": np.pad(np.broadcast_to(TARGET.real[:, None, None], (4, 1, 4, 4)), ((0, 0), (0, 0), (0, 0), (0, 1)))
    },
    "polarity flipped, encoder": {"encoder": ~RIGHT["encoder"]},
    "polarity flipped, decoder": {"decoder": ~RIGHT["decoder"]},
    "pads of segment 0 attend to each other": {"encoder": RIGHT["encoder"] | encoder("~padding") & ~encoder("causal")},
    "pads of segment 0 in cross-attention": {
        "cross": np.equal.outer(TARGET.segments, SOURCE.segments)[np.arange(4), :, np.arange(4)][:, None]
    },
    "a window one too wide": {"decoder": both("causal & segment & window(2)")},
    "one global token too many": {"decoder": both("segment & (causal | global_tokens(2))")},
    "the batch's rows in another order": {"decoder": RIGHT["decoder"][::-1]},
    "prefix seen across examples": {"decoder": both("causal | window(9, 9)")},
}
NARROW = {"a window one too wide": {"decoder": both("causal & segment & window(1)")}}
"""Where the declared mask is not the usual one."""


@pytest.mark.parametrize("fault", MASKS)
def test_a_wrong_mask_is_caught_at_its_positions(fault, monkeypatch):
    for name, mask in NARROW.get(fault, {}).items():
        monkeypatch.setitem(specimen.RIGHT, name, mask)
    report = specimen.check(**MASKS[fault])
    declared, real = specimen.reach(), specimen.reach(**MASKS[fault])
    wrong = {name: real[name] & ~declared[name] for name in real}
    missing = {name: declared[name] & ~real[name] for name in real}
    assert any(x.any() for x in (*wrong.values(), *missing.values())), "the fault changes nothing"
    for name in real:
        np.testing.assert_array_equal(specimen.edges(report, name), wrong[name])
        dead = np.zeros_like(missing[name])
        for edge in report.dead:
            if edge.input == name:
                dead[edge.row, edge.output_position, edge.input_position] = True
        np.testing.assert_array_equal(dead, missing[name])
    assert report.ok == (not any(x.any() for x in wrong.values()))
    for leak in report.leaks:
        assert leak.layer == first_layer(leak, MASKS[fault])


def first_layer(leak, wrong):
    """Where the wrong masks first let the leak's input reach what it may not."""
    right, real = (audit.by_layer(specimen.flow(**seen), specimen.INPUTS) for seen in ({}, wrong))
    for layer in right:
        reached = real[layer][leak.input] & ~right[layer][leak.input]
        if reached[leak.input_row, :, leak.input_position].any():
            return layer
    return None


def test_a_decoder_that_does_not_see_itself_is_caught_where_nothing_else_carries_it():
    """Causal off by one, into the past: with a residual path the flow is the same, so the layer is audited alone."""
    past = both("segment & causal & ~window(0, 0)")
    kinds = {"right": RIGHT["decoder"], "wrong": past}
    found = {}
    for kind, mask in kinds.items():
        attend = lambda target, mask=mask: (
            specimen.hide(jnp.zeros((4, 1, 4, 4)), jnp.asarray(mask))[:, 0] @ (jnp.eye(specimen.VOCABULARY)[target])
        )
        found[kind] = audit.check(
            attend, {"target": TARGET.ids}, {"target": RIGHT["decoder"][:, 0]}, vocabulary=specimen.VOCABULARY
        )
    assert found["right"].ok
    assert not found["right"].dead
    selves = {(dead.row, dead.output_position) for dead in found["wrong"].dead}
    assert {(b, t) for b, t in zip(*np.nonzero(TARGET.real), strict=True)} == selves


def test_a_leak_in_the_last_layer_alone_is_named_so():
    report = specimen.check(last=both("segment"))
    assert report.layers == {"decoder_1": len(report.leaks)}
    assert report.leaks


def test_a_mask_broadcast_over_heads_instead_of_the_batch():
    """`[B, Q, K]` masks of a batch as long as there are heads fit where `[1, N, Q, K]` is expected."""
    heads = RIGHT["decoder"][:2, 0][None]
    report = specimen.check(decoder=np.broadcast_to(heads, (4, 2, 4, 4)))
    seen = np.broadcast_to(heads.any(axis=1, keepdims=True), (4, 1, 4, 4))
    wrong = specimen.reach(decoder=seen)["target"] & ~specimen.reach()["target"]
    assert wrong.any()
    np.testing.assert_array_equal(specimen.edges(report, "target"), wrong)


EVERYTHING = {name: np.ones_like(mask) for name, mask in RIGHT.items()}
BLIND = {name: mask | ~mask.any(axis=-1, keepdims=True) for name, mask in RIGHT.items()}
"""Who sees nothing sees everything: what a finite infinity does, and nothing else."""

FORMS = {
    "-1e4 as infinity": (lambda s, m: jax.nn.softmax(s + jnp.where(m, 0.0, -1e4), axis=-1), BLIND),
    "-1e9 as infinity": (lambda s, m: jax.nn.softmax(jnp.where(m, s, -1e9), axis=-1), BLIND),
    "the mask added after the softmax": (lambda s, m: jax.nn.softmax(s, axis=-1) + jnp.where(m, 0.0, -1.0), EVERYTHING),
    "softmax(x + mask), the mask 0 or 1": (lambda s, m: jax.nn.softmax(s + m, axis=-1), EVERYTHING),
    "weights multiplied and not renormalised": (lambda s, m: jax.nn.softmax(s, axis=-1) * m, None),
    "scores multiplied": (lambda s, m: jax.nn.softmax(s * m, axis=-1), EVERYTHING),
    "an infinity of -10": (lambda s, m: jax.nn.softmax(jnp.where(m, s, -10.0), axis=-1), EVERYTHING),
    "softmax over the queries": (lambda s, m: jnp.nan_to_num(jax.nn.softmax(jnp.where(m, s, -jnp.inf), axis=-2)), None),
}


# Each is a program; the others wait for the slow tests.
QUICK_FORMS = ("-1e9 as infinity", "softmax(x + mask), the mask 0 or 1", "weights multiplied and not renormalised")


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[pytest.mark.slow] * (fault not in QUICK_FORMS)) for fault in FORMS]
)
def test_a_wrong_form_is_caught(fault):
    form, seen = FORMS[fault]
    report = specimen.check(form=form)
    assert not report.ok
    if seen is None:
        assert report.leaks
        return
    declared, real = specimen.reach(), specimen.reach(**seen)
    for name in real:
        np.testing.assert_array_equal(specimen.edges(report, name), real[name] & ~declared[name])
    # The first layers are where hidden keys are read first, those of the source in the encoder or the decoder.
    assert {leak.layer for leak in report.leaks} <= {"encoder_0", "decoder_0"}


@pytest.mark.parametrize(
    ("dtype", "infinity"), [(jnp.float16, -1e9), (jnp.float32, -np.inf)], ids=["-1e9 in fp16", "-inf in f32"]
)
def test_an_infinity_on_rows_that_see_nothing_is_reported_as_nan(dtype, infinity):
    """No leak can be measured there, so it is not "no leaks" either."""
    add = lambda s, m: jax.nn.softmax(s + jnp.where(m, 0.0, infinity).astype(dtype), axis=-1)
    report = specimen.check(form=add, dtype=dtype)
    assert not report.ok
    assert {(b, t) for b, t in zip(*np.nonzero(~TARGET.real), strict=True)} <= set(report.nan)
    assert (0, 0) not in report.nan, "rows without padding are fine"
    assert "NaN" in str(report)


def test_the_right_specimen_is_clean():
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        report = specimen.check(dtype=dtype)
        assert report.ok, str(report)
        assert not report.dead, str(report)
