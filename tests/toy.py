"""Small examples and models that several tests share, so that they share compiled programs too."""

import dataclasses
import functools

import jax
import numpy as np

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import make_layout
from flaxmask.data.vocabulary import EOS
from flaxmask.models.audited import EncoderDecoder
from flaxmask.models.config import MaskConfig, RecurrentConfig, TransformerConfig
from flaxmask.models.recurrent import RecurrentEncoderDecoder
from flaxmask.models.transformer import Transformer
from flaxmask.tokens import PADDING, Tokens

LAYOUTS = ("static", "dynamic", "bucketed", "packed")
SIZES = (17, 19)
CONFIG = TransformerConfig(d_model=16, d_ffn=32, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
PLAIN = MaskConfig()
RECURRENT = RecurrentConfig(d_model=8, hidden=6)
DEEP = dataclasses.replace(CONFIG, encoder_layers=2, decoder_layers=2)


def examples(count: int, seed: int = 0, longest: int = 9) -> Examples:
    """Random pairs of ids with end marks, 1 to `longest` tokens on either side."""
    rng = np.random.default_rng(seed)
    side = lambda size: [*rng.integers(4, size, rng.integers(0, longest)).tolist(), EOS]
    return Examples.of(((side(SIZES[0]), side(SIZES[1])) for _ in range(count)), SIZES)


def placements(data: Examples, layout: str, batch: int = 64, **settings):
    """All placements of one epoch, in the examples' order."""
    config = DataConfig(layout=layout, batch_examples=batch, **{"shapes": 4, **settings})
    return make_layout(config, data.lengths).place(np.arange(len(data)), data.lengths)


def batches(data: Examples, layout: str, batch: int = 64, **settings):
    """All batches of one epoch."""
    return [build_batch(data, placement) for placement in placements(data, layout, batch, **settings)]


@functools.cache
def model(config: TransformerConfig | RecurrentConfig = CONFIG, masks: MaskConfig = PLAIN) -> EncoderDecoder:
    """A tiny encoder-decoder over `SIZES`."""
    kind = Transformer if isinstance(config, TransformerConfig) else RecurrentEncoderDecoder
    return kind(config, masks, *SIZES)


@functools.cache
def params(config: TransformerConfig | RecurrentConfig = CONFIG, masks: MaskConfig = PLAIN, seed: int = 0):
    """Parameters of it, see `drawn`."""
    return drawn(model(config, masks), batches(examples(4), "static", 4)[0], seed)


def drawn(module, batch, seed: int = 0):
    """Parameters like initial ones, drawn by NumPy: to compile an initialisation takes longer than most tests."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("bias", "scale"):
            return np.full(leaf.shape, name == "scale", np.float32)
        size = leaf.shape[-1] if name in ("embedding", "table") else leaf.shape[0]
        values = rng.normal(0, size**-0.5, leaf.shape).astype(np.float32)
        if name == "embedding":
            values[PADDING] = 0.0
        return values

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(module.init, jax.random.PRNGKey(0), batch))


def random_tokens(rng: np.random.Generator, batch: int, length: int) -> Tokens:
    """Anything: padding anywhere, several segments, positions of any order, prefix flags or none."""
    int32 = lambda low, high: rng.integers(low, high, (batch, length)).astype(np.int32)
    prefix = rng.random((batch, length)) < 0.5 if rng.random() < 0.5 else None
    return Tokens(int32(1, 9), int32(0, 4), int32(0, max(length, 2)), prefix)


def check_steps(config: TransformerConfig | RecurrentConfig, data: Examples):
    """One token at a time, from the cache alone, has the logits of the whole."""
    module, weights = model(config), params(config)
    batch = batches(data, "static", len(data))[0]
    whole = jax.jit(module.apply)(weights, batch)
    cache = module.apply(weights, batch.source, 8, method="start")
    step = jax.jit(functools.partial(module.apply, method="step"))
    for t in range(batch.target.shape[1]):
        logits, cache = step(weights, cache, batch.target.slots(slice(t, t + 1)))
        real = batch.target.real[:, t]
        np.testing.assert_allclose(logits[real, 0, 1:], whole[real, t, 1:], atol=1e-5)
