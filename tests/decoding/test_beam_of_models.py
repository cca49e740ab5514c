"""Beam search of real models: hypotheses beside each other in a row, against each as a row of its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Tokens
from flaxmask.answers import GREEDY, at_once, search_of
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.decoding.beam import Beam
from flaxmask.models.config import MaskConfig, RecurrentConfig
from flaxmask.tokens import Batch
from tests import toy
from tests.decoding.test_greedy import UNTIED, noisy

LENGTH, BEAMS = 8, 3


def search(model, params, source, beams=BEAMS):
    return at_once(model, Beam(beams, LENGTH, BOS, EOS), params, source)


@functools.partial(jax.jit, static_argnums=0)
def score(model, params, source, ids):
    """Of each hypothesis `[B, N, L]`, the mean log-probability with the whole of it at once."""
    batch, count, length = ids.shape
    again = jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), source)
    flat = ids.reshape(-1, length)
    shifted = jnp.concatenate([jnp.full((len(flat), 1), BOS, jnp.int32), flat[:, :-1]], axis=1)
    slots = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None], flat.shape)
    logits = model.apply(params, Batch(again, Tokens(shifted, jnp.ones_like(shifted), slots, None, "rows")))
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), flat[..., None], axis=-1)[..., 0]
    real = flat != 0
    return (jnp.where(real, chosen, 0.0).sum(axis=1) / real.sum(axis=1)).reshape(batch, count)


MODELS = {
    "pre, two layers": (dataclasses.replace(toy.DEEP, **UNTIED), MaskConfig()),
    "window": (dataclasses.replace(toy.CONFIG, **UNTIED), MaskConfig(decoder="causal & segment & window(2)")),
    "LSTM, dot": (RecurrentConfig(d_model=8, hidden=8, attention="dot"), MaskConfig()),
    "LSTM, interactive": (RecurrentConfig(d_model=8, hidden=6, attention="interactive"), MaskConfig()),
    "blockwise": (dataclasses.replace(toy.CONFIG, attention="blockwise", **UNTIED), MaskConfig()),
    "renormalised": (dataclasses.replace(toy.CONFIG, mask_form="renormalised", **UNTIED), MaskConfig()),
}
ENDS = {"LSTM, dot": 2.0, "LSTM, interactive": 0.5}
"""Added to the end mark's logit, so that some hypotheses end and some do not."""
SLOW = ("pre, two layers", "LSTM, interactive", "blockwise", "renormalised")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS])
def test_scores_are_those_of_the_whole_sequence(name):
    """Whatever a hypothesis descends from and stands beside; and one beam is greedy."""
    model, params = toy.model(*MODELS[name]), noisy(toy.params(*MODELS[name]), end=ENDS.get(name, 3.0))
    [batch] = toy.batches(toy.examples(40), "static", 40)
    found = search(model, params, batch.source)
    all_ids = np.asarray(found.ids).reshape(-1, LENGTH)
    assert len(np.unique(all_ids, axis=0)) > 20, "outputs that do not differ would prove nothing"
    assert 0 < (all_ids == EOS).any(axis=1).mean() < 1
    assert (np.diff(found.scores, axis=1) <= 0).all() or not (found.ids == EOS).any(axis=-1).all()
    np.testing.assert_allclose(found.scores, score(model, params, batch.source, found.ids), atol=2e-5)
    greedy = at_once(model, search_of(GREEDY, LENGTH), params, batch.source)
    np.testing.assert_array_equal(search(model, params, batch.source, 1).ids[:, 0], greedy)
