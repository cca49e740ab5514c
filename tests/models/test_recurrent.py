"""LSTMs: Linen's cell, the sources' formulas, and a state that padding and neighbours leave alone."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Batch, Tokens
from flaxmask.attention.additive import additive_attention
from flaxmask.attention.interactive import decoder_input, interactive_attention
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.decoding.greedy import Greedy
from flaxmask.decoding.steps import decode
from flaxmask.models.audited import Audited
from flaxmask.models.recurrence import Recurrence
from flaxmask.models.recurrent import RecurrentStack
from tests import toy

ATTENTION = ("none", "additive", "dot", "interactive")
BOTH_WAYS = dataclasses.replace(toy.RECURRENT, bidirectional=True)
SLOW_BUT_ONE = [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "interactive")) for kind in ATTENTION]


def recurrent(kind):
    return dataclasses.replace(BOTH_WAYS, attention=kind)


@functools.cache
def cell(masking="hold", reverse=False):
    module = Recurrence(5, masking, reverse)
    params = module.init(jax.random.PRNGKey(1), jnp.zeros((1, 1, 3)), Tokens.of(np.ones((1, 1), np.int32)))
    return module, params


def states(x, tokens, masking="hold", reverse=False, **how):
    module, params = cell(masking, reverse)
    return module.apply(params, x, tokens, **how)[0]


def test_a_state_is_that_of_linen_s_cell(rng):
    x = rng.normal(size=(2, 6, 3)).astype(np.float32)
    ours = cell()[1]["params"]
    kernels = {"i": ours["input"], "h": {"kernel": ours["state_kernel"]}}
    split = lambda side, gate, part: np.split(np.asarray(kernels[side][part]), 4, axis=-1)["ifgo".index(gate)]
    theirs = {f"{side}{gate}": {"kernel": split(side, gate, "kernel")} for side in "ih" for gate in "ifgo"}
    for gate in "ifgo":  # Linen adds its bias on the state's side
        theirs[f"h{gate}"]["bias"] = split("i", gate, "bias")
    wanted = nn.RNN(nn.OptimizedLSTMCell(5)).apply({"params": {"cell": theirs}}, x)
    np.testing.assert_allclose(states(x, Tokens.of(np.ones((2, 6), np.int32))), wanted, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_anywhere_leaves_the_state_alone(rng, reverse):
    """Before, behind and between: to the last bit, since the state is held and not computed."""
    x = rng.normal(size=(1, 4, 3)).astype(np.float32)
    alone = states(x, Tokens.of(np.ones((1, 4), np.int32)), reverse=reverse)
    for slots in ([0, 1, 2, 3], [3, 4, 5, 6], [1, 3, 4, 6]):
        ids = np.zeros((1, 7), np.int32)
        ids[:, slots] = 1
        padded = rng.normal(size=(1, 7, 3)).astype(np.float32)
        padded[:, slots] = x
        np.testing.assert_array_equal(states(padded, Tokens.of(ids), reverse=reverse)[:, slots], alone)


def test_without_a_mask_padding_moves_the_state(rng):
    """What the mask is for; zeros as inputs move it too."""
    x = rng.normal(size=(1, 5, 3)).astype(np.float32)
    after = lambda masking: states(x, Tokens.of(np.array([[1, 1, 1, 0, 0]], np.int32)), masking)[:, -1]
    alone = states(x[:, :3], Tokens.of(np.ones((1, 3), np.int32)))[:, -1]
    np.testing.assert_array_equal(after("hold"), alone)
    assert np.abs(after("inputs") - alone).max() > 1e-3
    assert np.abs(after("none") - after("inputs")).max() > 1e-3


def test_the_state_starts_anew_with_each_segment(rng):
    x = rng.normal(size=(1, 5, 3)).astype(np.float32)
    initial = tuple(rng.normal(size=(1, 5, 5)).astype(np.float32) for _ in range(2))
    segments = np.array([[1, 1, 1, 2, 2]], np.int32)
    tokens = Tokens(np.ones_like(segments), segments, np.array([[0, 1, 2, 0, 1]], np.int32), layout="packed")
    packed = states(x, tokens, initial=initial)
    for part in (slice(0, 3), slice(3, 5)):
        own = tuple(s[:, part] for s in initial)
        alone = states(x[:, part], Tokens.of(tokens.ids[:, part]), initial=own)
        np.testing.assert_array_equal(packed[:, part], alone)


def test_additive_attention_is_the_formula_and_sees_what_it_may(rng):
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    query, key, value, scale = draw(3, 4), draw(3, 5, 4), draw(3, 5, 2), draw(4)
    visible = np.array([[True] * 5, [True, True, False, False, True], [False] * 5])
    out = additive_attention(query, key, value, visible, scale)
    for b, row in enumerate(visible):
        weights = np.exp(np.tanh(query[b] + key[b]) @ scale) * row
        np.testing.assert_allclose(out[b], weights @ value[b] / max(weights.sum(), 1e-9), atol=1e-6)
    total = lambda key: additive_attention(query, key, value, visible, scale).sum()
    gradient = jax.grad(total)(key)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[~visible])


def test_interactive_attention_is_the_sources_formulas(rng):
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    h, c, w_a, w_di, b_di = draw(1, 3), draw(1, 4, 2), draw(5, 2), draw(5, 6), draw(6)
    visible = np.array([[True, False, True, False]])
    gates = 1 / (1 + np.exp(-np.concatenate([np.repeat(h[:, None], 4, 1), c], axis=-1) @ w_a))
    wanted = (gates * (c * visible[..., None])).sum(axis=1) / 2
    read = interactive_attention(h @ w_a[:3], c @ w_a[3:], c, visible)
    np.testing.assert_allclose(read, wanted, rtol=1e-5)
    formula = np.tanh(np.concatenate([h, wanted], axis=-1) @ w_di) + b_di
    np.testing.assert_allclose(decoder_input(h, read, w_di, b_di), formula, rtol=1e-5)
    assert not np.any(interactive_attention(h @ w_a[:3], c @ w_a[3:], c, np.zeros((1, 4), bool)))


@pytest.mark.parametrize("kind", SLOW_BUT_ONE)
def test_steps_give_the_logits_of_the_whole(kind):
    toy.check_steps(recurrent(kind), toy.examples(3, longest=5))


@pytest.mark.parametrize("kind", SLOW_BUT_ONE)
def test_packed_examples_and_padding_do_not_leak(kind):
    config = recurrent(kind)
    batch = toy.batches(toy.examples(4, longest=4), "packed", 4, pack_length=16)[0]
    report = Audited(toy.model(config), toy.params(config), batch).check()
    assert report.ok, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("masking", ["inputs", "none"])
def test_a_state_that_goes_through_padding_is_shown_to_leak(masking):
    config = dataclasses.replace(recurrent("dot"), masking=masking)
    batch = toy.batches(toy.examples(4, longest=4), "packed", 4, pack_length=16)[0]
    report = Audited(toy.model(config), toy.params(config), batch).check()
    assert report.leaks


def test_what_is_decoded_does_not_depend_on_padding():
    config = recurrent("interactive")
    model, params = toy.model(config), toy.params(config)
    ids = toy.examples(1, longest=6).source[0]
    decoded = []
    for pads in (0, 3):
        source = Tokens.of(np.pad(ids, (0, pads))[None].astype(np.int32))
        cache = model.apply(params, source, 6, method="start")
        step = lambda cache, tokens: model.apply(params, cache, tokens, method="step")
        decoded.append(decode(Greedy(6, BOS, EOS), step, cache, 1).tolist())
    assert decoded[0] == decoded[1]


def test_a_final_state_is_the_classifier_s_input_on_whichever_side_padding_stands():
    """Pre- and post-padded rows give one answer; without the mask they do not."""
    ids = np.array([[5, 6, 7, 8, 0, 0, 0], [0, 0, 0, 5, 6, 7, 8]], np.int32)
    first = np.array([0, 3])
    differences = {}
    for masking in ("hold", "none"):
        config = dataclasses.replace(BOTH_WAYS, masking=masking)
        model = RecurrentStack(config, 9, 3, "source", pooled=True)
        batch = Batch(source=Tokens.of(ids))
        logits = model.apply(model.init(jax.random.PRNGKey(0), batch), batch)[np.arange(2), first, 1:]
        differences[masking] = float(np.abs(logits[0] - logits[1]).max())
    assert differences["hold"] <= 1e-6
    assert differences["none"] > 1e-3
