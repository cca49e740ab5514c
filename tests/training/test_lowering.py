"""A whole update, compiled for an accelerator as far as a machine without one can."""

import dataclasses
import functools
import re

import jax
import pytest
from jax import export

from flaxmask.training.config import TrainingConfig
from flaxmask.training.optimizer import make_optimizer
from flaxmask.training.step import TrainState, train_step
from tests import toy

LENGTH = 128
CONFIG = dataclasses.replace(toy.CONFIG, d_model=256, heads=2, dropout=0.1, dtype="bfloat16")
"""Heads of 128, which is what a TPU multiplies at once."""


def lowered(attention: str, platform: str) -> str:
    """The update's program."""
    model = toy.model(dataclasses.replace(CONFIG, attention=attention))
    batch = toy.batches(toy.examples(64), "packed", 64, pack_length=LENGTH)[0]
    optimizer = make_optimizer(TrainingConfig(), 10)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), batch))
    state = jax.eval_shape(lambda params: TrainState.create(params, optimizer, 0), params)
    apply = lambda params, batch, rng: model.apply(params, batch, False, rngs={"dropout": rng}, method="readout")
    step = functools.partial(train_step, apply=apply, optimizer=optimizer, label_smoothing=0.1)
    return export.export(jax.jit(step, donate_argnums=0), platforms=[platform])(state, batch).mlir_module()


@pytest.mark.parametrize(("attention", "platform"), [("splash", "tpu"), ("xla", "tpu"), ("xla", "gpu")])
def test_an_update_lowers(attention, platform, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    text = lowered(attention, "cuda" if platform == "gpu" else platform)
    assert ("tpu_custom_call" in text) == (attention == "splash")
    assert not re.search(r"tensor<[^>]*\?", text), "a shape is known when it runs alone"
    assert "f64" not in text, "slow on every accelerator"
    assert "tf.aliasing_output" in text, "the old state is kept beside the new one"
    products = re.findall(r"stablehlo\.dot_general .* : \(tensor<\S*x(\w+)>, tensor<\S*x(\w+)>\)", text)
    assert len(products) > 30
    # All but those of the float32 gradients of scores and outputs, four an attention of which there are three.
    mixed = sum(kinds != ("bf16", "bf16") for kinds in products)
    assert mixed <= 12
