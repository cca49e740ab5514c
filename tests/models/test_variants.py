"""What a decoder is handed, where it starts from, and how positions are told: the laws of every model hold for each."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from flaxmask import Tokens
from flaxmask.attention.interactive import decoder_input, interactive_attention
from flaxmask.attention.relative import alibi, buckets, distances
from flaxmask.models.audited import Audited
from flaxmask.models.config import RecurrentConfig
from flaxmask.models.handover import shares
from flaxmask.training.loss import cross_entropy
from tests import toy

own = functools.partial(dataclasses.replace, toy.CONFIG)
additive = functools.partial(dataclasses.replace, toy.RECURRENT, attention="additive")
VARIANTS = {
    "last, start handed": own(handed="last", start="handed"),
    "mean": own(handed="mean"),
    "first, start random": own(handed="first", start="random"),
    "alibi": own(positions="alibi"),
    "relative": own(positions="relative"),
    "single": own(positions="single"),
    "LSTM, last, start zero": additive(handed="last", start="zero"),
    "LSTM, mean, start random": additive(handed="mean", start="random"),
    "LSTM, first": additive(handed="first"),
    "LSTM, first, both ways": additive(handed="first", bidirectional=True),
    "LSTM, softmax inside": dataclasses.replace(
        toy.RECURRENT, attention="interactive", gate="softmax", input_bias="inside"
    ),
}
QUICK = ("last, start handed", "relative", "LSTM, first")
EACH = [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in VARIANTS]
DATA = toy.examples(8, longest=6)


@pytest.mark.parametrize("name", EACH)
def test_packed_examples_read_what_is_declared(name):
    config = VARIANTS[name]
    batch = toy.batches(DATA, "packed", 8, pack_length=16)[0]
    report = Audited(toy.model(config), toy.params(config), batch).check()
    assert report.ok, str(report)
    assert not report.nan


@pytest.mark.parametrize("name", EACH)
def test_steps_give_the_logits_of_the_whole(name):
    toy.check_steps(VARIANTS[name], DATA)


@pytest.mark.parametrize("name", EACH)
def test_padded_and_packed_rows_have_one_loss(name):
    config = VARIANTS[name]
    model, params = toy.model(config), toy.params(config)
    loss = jax.jit(lambda batch: cross_entropy(model.apply(params, batch), batch.labels, batch.weights, 0.1))
    sums = {
        layout: np.sum([loss(batch) for batch in toy.batches(DATA, layout, 8, shapes=1)], axis=0)
        for layout in ("static", "packed")
    }
    np.testing.assert_allclose(sums["static"], sums["packed"], rtol=1e-5)


def test_one_vector_is_the_example_s_own():
    tokens = Tokens.of(np.array([[5, 6, 7, 0]]))
    assert np.asarray(shares("last", tokens, tokens))[0, 0].tolist() == [0, 0, 1, 0]
    assert np.asarray(shares("first", tokens, tokens))[0, 2].tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(shares("mean", tokens, tokens)[0, 1], [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)
    assert not np.any(shares("mean", tokens, tokens)[0, 3]), "padding has no example"


def test_attention_over_one_vector_does_not_depend_on_the_query():
    """Whatever the weights: so the cross-attention of a model that is handed one vector is dead weight."""
    model, params = toy.model(own(handed="last")), toy.params(own(handed="last"))
    batch = toy.batches(DATA, "static", 8)[0]
    encoded = model.apply(params, batch.source, method="encode")
    real = np.asarray(batch.source.real)
    for row in range(len(real)):
        of_row = np.asarray(encoded)[row, real[row]]
        np.testing.assert_array_equal(of_row, np.broadcast_to(of_row[:1], of_row.shape))


def test_buckets_are_those_of_the_paper():
    """One each up to 7, wider up to 128, the rest in the last; either direction has its own half."""
    distance = np.arange(-300, 301)
    found = np.asarray(buckets(distance))
    assert found.min() == 0
    assert found.max() == 31
    after, before = found[distance > 0], found[distance < 0][::-1]
    np.testing.assert_array_equal(after, before + 16)
    assert np.all(np.diff(before) >= 0)
    assert before[:7].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert np.all(before[127:] == 15)


def test_alibi_falls_with_the_distance_by_positions_and_not_by_slots():
    packed = Tokens(*(np.array([x], np.int32) for x in ([5, 6, 5, 6], [1, 1, 2, 2], [0, 1, 0, 1])))
    bias = np.asarray(alibi(packed, packed, 2))
    assert bias.shape == (1, 2, 4, 4)
    np.testing.assert_array_equal(bias[0, :, :2, :2], bias[0, :, 2:, 2:])
    np.testing.assert_allclose(bias[0, 0], -(2.0**-4) * np.abs(np.asarray(distances(packed, packed))[0]))


def test_a_softmax_gate_weighs_the_visible_positions_of_each_channel(rng):
    query, key, memory = rng.normal(size=(1, 3)), rng.normal(size=(1, 4, 3)), rng.normal(size=(1, 4, 3))
    query, key, memory = (x.astype(np.float32) for x in (query, key, memory))
    visible = np.array([[True, False, True, True]])
    powers = np.exp(query[:, None] + key) * visible[..., None]
    wanted = (powers / powers.sum(axis=1, keepdims=True) * memory).sum(axis=1)
    np.testing.assert_allclose(interactive_attention(query, key, memory, visible, "softmax"), wanted, rtol=1e-5)
    assert not np.any(interactive_attention(query, key, memory, np.zeros((1, 4), bool), "softmax"))
    kernel, bias = rng.normal(size=(6, 2)).astype(np.float32), np.array([3.0, -3.0], np.float32)
    inside = np.asarray(decoder_input(query, wanted, kernel, bias, "inside"))
    assert np.all(np.abs(inside) <= 1), "inside of the tanh a bias cannot lead out of (-1, 1)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gate": "softmax"}, "gate and input_bias are for attention=interactive"),
        ({"handed": "last"}, "without attention nothing of the outputs is read"),
    ],
)
def test_what_would_change_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RecurrentConfig(**changes)


def test_a_softmax_over_sums_does_not_see_the_state(rng):
    """What the state adds is the same at all positions: the sources' scores need more than a softmax."""
    query, other, key, memory = (rng.normal(size=shape).astype(np.float32) for shape in [(1, 3)] * 2 + [(1, 4, 3)] * 2)
    visible = np.array([[True, True, False, True]])
    read = lambda state, gate: np.asarray(interactive_attention(state, key, memory, visible, gate))
    np.testing.assert_allclose(read(query, "softmax"), read(5 * other, "softmax"), rtol=1e-5)
    assert np.abs(read(query, "sigmoid") - read(5 * other, "sigmoid")).max() > 1e-2
