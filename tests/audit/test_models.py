"""Models as users have them: ours are clean in every layout; faults in other libraries are found."""

import dataclasses
import functools
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Tokens, audit, masks
from flaxmask.answers import GREEDY, at_once, search_of
from flaxmask.models.audited import Audited
from flaxmask.models.config import MaskConfig
from tests import toy

DATA = toy.examples(8, longest=6)
CONFIGS = {
    "pre": toy.DEEP,
    "bf16": dataclasses.replace(toy.DEEP, dtype="bfloat16"),
    "post, learned positions": dataclasses.replace(toy.CONFIG, norm="post", positions="learned", max_positions=16),
    "untied, reference": dataclasses.replace(toy.CONFIG, tie_logits=False, attention="reference"),
    "blockwise": dataclasses.replace(toy.CONFIG, attention="blockwise"),
}
LOCAL = MaskConfig(
    encoder="segment & window(1, 1)", decoder="causal & segment & window(1)", cross="segment & window(2, 2)"
)


def audited(config, masks_, layout) -> Audited:
    batch = toy.batches(DATA, layout, 8, length=8, shapes=2, pack_length=16)[0]
    return Audited(toy.model(config, masks_), toy.params(config, masks_), batch)


@pytest.mark.parametrize(
    ("name", "masks_", "layout"),
    [
        ("pre", MaskConfig(), "static"),
        ("bf16", LOCAL, "packed"),
        *(
            pytest.param(name, masks_, layout, marks=pytest.mark.slow)
            for name in CONFIGS
            for masks_ in (MaskConfig(), LOCAL)
            for layout in toy.LAYOUTS
        ),
    ],
    ids=str,
)
def test_our_models_obey_what_they_declare(name, masks_, layout):
    report = audited(CONFIGS[name], masks_, layout).check()
    assert report.ok, str(report)
    assert name == "bf16" or not report.dead, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_our_models_do_not_drift(name):
    one = audited(CONFIGS[name], MaskConfig(), "static")
    write = lambda source, target: np.asarray(at_once(one.model, search_of(GREEDY, 4), one.params, source)).tolist()
    data = [{"source": DATA.source[i], "target": DATA.target[i]} for i in range(3)]
    found = one.drift(data, write, pads=(2,))
    assert found.largest < (0.2 if name == "bf16" else 2e-5), str(found)
    assert set(found.changed) == set(found.logits) - {"packed"}
    assert name == "bf16" or not any(found.changed.values())


@pytest.mark.parametrize("part", ["encoder", *(pytest.param(p, marks=pytest.mark.slow) for p in ("decoder", "cross"))])
def test_our_model_under_other_masks_than_it_declares_leaks_where_they_say(part):
    """The layer is named from inside a Linen model."""
    wrong = dataclasses.replace(MaskConfig(), **{part: "causal & padding" if part == "decoder" else "padding"})
    one = audited(toy.DEEP, wrong, "packed")
    right = toy.model(toy.DEEP, MaskConfig()).flow(one.batch)
    report = one.check(right)
    assert not report.ok
    first = "encoder_0" if part == "encoder" else "decoder_0"
    assert first in report.layers
    assert set(report.layers) <= {"encoder_0", "decoder_0", "decoder_1"}
    wanted = audit.closure(one.model.flow(one.batch), one.inputs, "target")
    declared = audit.closure(right, one.inputs, "target")
    real = np.asarray(one.batch.target.real)[..., None]  # nobody reads what stands at padding
    assert len(report.leaks) == sum(int((wanted[name] & ~declared[name] & real).sum()) for name in wanted)


@pytest.mark.parametrize(
    ("layout", "wrong"),
    [
        pytest.param("packed", MaskConfig(decoder="causal & padding"), id="packed examples read each other"),
        pytest.param("static", MaskConfig(cross="full"), id="padding is read", marks=pytest.mark.slow),
    ],
)
def test_masks_that_let_examples_be_read_leak_though_they_declare_it(layout, wrong):
    assert not audited(toy.DEEP, wrong, layout).check().ok


@pytest.mark.slow
def test_what_padding_reads_is_nobody_s_concern():
    """The usual masks of padded rows: real tokens see real tokens, and padding sees them too."""
    usual = MaskConfig(encoder="padding", decoder="causal & padding", cross="padding")
    report = audited(toy.DEEP, usual, "static").check()
    assert report.ok, str(report)


def test_linen_s_attention_averages_what_a_query_that_sees_nothing_must_not_see():
    """nn.MultiHeadDotProductAttention hides with the least number there is: on such a row all keys weigh alike."""
    module = nn.MultiHeadDotProductAttention(num_heads=2)
    tokens = Tokens.of(np.array([[3, 4, 5, 0], [6, 7, 0, 0]]))
    table = np.random.default_rng(0).normal(size=(11, 8)).astype(np.float32)
    mask = masks.segment(tokens, tokens)  # padding sees nothing
    params = module.init(jax.random.PRNGKey(0), jnp.zeros((2, 4, 8)), mask=mask)
    attend = lambda ids: module.apply(params, jnp.asarray(table)[ids], mask=mask)
    report = audit.check(attend, {"ids": tokens.ids}, {"ids": np.asarray(mask[:, 0])}, vocabulary=11)
    blind = {(b, t, b, s) for b, t in ((0, 3), (1, 2), (1, 3)) for s in range(4)}
    # Of a query that is its own key's, a blind row's own id moves its query and its value both.
    assert {leak[1:5] for leak in report.leaks} == blind
    assert not report.dead


@pytest.mark.slow
def test_torch_s_attention_gives_nan_where_all_keys_are_padding():
    """torch.nn.MultiheadAttention (issue 41508, open since 2020); no mask of the caller's is wrong."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    table = torch.nn.Embedding(11, 8)
    ids = np.array([[3, 4, 5, 0], [0, 0, 0, 0]])
    pads = torch.tensor(ids == 0)

    def attend(ids):
        with torch.no_grad():
            x = table(torch.tensor(np.asarray(ids)))
            return module(x, x, x, key_padding_mask=pads, need_weights=False)[0].numpy()

    declared = np.broadcast_to((ids != 0)[:, None], (2, 4, 4)) | np.eye(4, dtype=bool)[None]
    report = audit.check(attend, {"ids": ids}, {"ids": declared}, vocabulary=11)
    assert report.nan == tuple((1, t) for t in range(4))
    assert not report.leaks
    assert not report.ok


@pytest.mark.slow
def test_a_torch_model_that_forgets_its_padding_mask_leaks():
    """A whole encoder layer in numpy's clothes, one call each."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    table = torch.nn.Embedding(11, 8)
    ids = np.array([[3, 4, 5, 0], [6, 7, 0, 0]])

    def encode(ids, pads):
        with torch.no_grad():
            return layer(table(torch.tensor(np.asarray(ids))), src_key_padding_mask=pads).numpy()

    declared = np.broadcast_to((ids != 0)[:, None], (2, 4, 4)) | np.eye(4, dtype=bool)[None]
    leaks = {}
    for name, pads in (("right", torch.tensor(ids == 0)), ("wrong", None)):
        call = functools.partial(encode, pads=pads)
        report = audit.check(call, {"ids": ids}, {"ids": declared}, vocabulary=11)
        leaks[name] = {leak[1:5] for leak in report.leaks if ids[leak.output_row, leak.output_position]}
    assert not leaks["right"]
    assert leaks["wrong"] == {(0, t, 0, 3) for t in range(3)} | {(1, t, 1, s) for t in range(2) for s in (2, 3)}


@pytest.mark.slow
def test_four_and_four_layers_at_32_positions_take_less_than_ten_seconds():
    config = dataclasses.replace(toy.CONFIG, d_model=64, d_ffn=128, heads=4, encoder_layers=4, decoder_layers=4)
    data = toy.examples(1, longest=2)
    batch = toy.batches(data, "static", 1, length=32)[0]
    one = Audited(toy.model(config), toy.params(config), batch)
    assert one.inputs["source"].shape == one.inputs["target"].shape == (1, 32)
    one.check()  # compiles
    start = time.perf_counter()
    report = one.check()
    assert time.perf_counter() - start < 10
    assert report.ok
