"""Layouts change the cost and never the answer."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from flaxmask.models.config import MaskConfig
from flaxmask.training.loss import cross_entropy
from tests import toy

DATA = toy.examples(64)
CONFIGS = {
    "pre, two layers": toy.DEEP,
    "post, learned positions": dataclasses.replace(toy.CONFIG, norm="post", positions="learned", max_positions=16),
    "LSTM, dot": dataclasses.replace(toy.RECURRENT, bidirectional=True, attention="dot", decoder_layers=2),
    "LSTM, additive": dataclasses.replace(toy.RECURRENT, encoder_layers=2, attention="additive"),
    "LSTM, interactive": dataclasses.replace(toy.RECURRENT, attention="interactive"),
    "untied": dataclasses.replace(toy.CONFIG, tie_logits=False),
}
LOCAL = MaskConfig(
    encoder="segment & window(1, 1)", decoder="causal & segment & window(2)", cross="segment & window(2, 2)"
)


@functools.cache
def gradient(config, masks):
    model = toy.model(config, masks)
    loss = lambda params, batch: cross_entropy(model.apply(params, batch), batch.labels, batch.weights, 0.1)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def summed(layout, config, masks):
    """`(loss, count), gradients`, summed over an epoch's batches."""
    params = toy.params(config, masks)
    batches = toy.batches(DATA, layout, 32, length=16, shapes=2)
    sums = [gradient(config, masks)(params, batch) for batch in batches]
    return functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), jax.device_get(sums))


@pytest.mark.parametrize(
    ("name", "masks"),
    [
        ("pre, two layers", MaskConfig()),
        pytest.param("LSTM, interactive", MaskConfig(), marks=pytest.mark.slow),
        pytest.param("LSTM, dot", MaskConfig(), marks=pytest.mark.slow),
        pytest.param("LSTM, additive", LOCAL, marks=pytest.mark.slow),
        pytest.param("post, learned positions", MaskConfig(), marks=pytest.mark.slow),
        pytest.param("untied", LOCAL, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_all_four_layouts_give_one_loss_and_one_gradient(name, masks):
    (wanted_loss, wanted_count), wanted = summed("static", CONFIGS[name], masks)
    assert wanted_count == DATA.lengths[:, 1].sum(), "every target token counts once"
    norm = optax.global_norm(wanted)
    for layout in ("dynamic", "bucketed", "packed"):
        (loss, count), gradients = summed(layout, CONFIGS[name], masks)
        assert count == wanted_count
        np.testing.assert_allclose(loss, wanted_loss, rtol=1e-5)
        worst = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), gradients, wanted)))
        assert worst <= 1e-4 * norm, f"{layout}: {worst / norm:.1e} of the gradients' norm"


def test_a_packed_batch_holds_several_examples_a_row():
    """Without this the test above would prove nothing of packing."""
    assert all(batch.source.segments.max() > 2 for batch in toy.batches(DATA, "packed", 32, length=16))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["cross", "encoder", "decoder"])
def test_a_mask_without_segments_is_seen(part):
    """The law can fail: a packed batch whose examples read each other changes the loss."""
    leaky = dataclasses.replace(MaskConfig(), **{part: "causal & padding" if part == "decoder" else "padding"})
    static, packed = (summed(layout, toy.CONFIG, leaky)[0][0] for layout in ("static", "packed"))
    assert abs(static - packed) > 2e-5 * static, "twice the bound of the law"
