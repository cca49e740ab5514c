import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxmask import Batch, Tokens
from flaxmask.models.audited import Audited
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.layers import sinusoid
from flaxmask.models.transformer import Transformer
from flaxmask.training.step import TrainState, train_step
from tests import toy

BATCH = toy.batches(toy.examples(6, longest=6), "packed", 6, pack_length=16)[0]


def test_no_label_is_seen_before_it_is_predicted():
    """The logits' gradient is zero after the position and, within the example, not zero up to it."""
    model, params = toy.model(toy.DEEP), toy.params(toy.DEEP)
    embeddings = params["params"]["target_embedder"]["embedding"]
    rows, length = BATCH.target.shape

    def logits(inputs):
        # A table with one row for each slot, so that every slot's input has a gradient of its own.
        table = jnp.concatenate([embeddings, inputs.reshape(-1, inputs.shape[-1])])
        ids = len(embeddings) + np.arange(rows * length, dtype=np.int32).reshape(rows, length)
        target = dataclasses.replace(BATCH.target, ids=ids)
        changed = {"params": params["params"] | {"target_embedder": {"embedding": table}}}
        wide = dataclasses.replace(model, target_vocabulary=len(table))
        out = wide.apply(changed, dataclasses.replace(BATCH, target=target))
        return out[..., 1 : len(embeddings)]

    jacobian = jax.jit(jax.jacrev(lambda x: logits(x).sum(axis=-1)))(embeddings[BATCH.target.ids])
    reached = np.asarray(jnp.abs(jacobian).max(axis=-1) > 0)
    segments, slots = BATCH.target.segments, np.arange(length)
    for row in range(rows):
        for q in range(length):
            if not segments[row, q]:
                continue
            declared = (segments[row] == segments[row, q]) & (slots <= q)
            np.testing.assert_array_equal(reached[row, q, row], declared)
            assert not np.delete(reached[row, q], row, axis=0).any(), "another row of the batch"


@pytest.mark.parametrize(
    ("norm", "positions"),
    [
        ("pre", "sinusoidal"),
        ("post", "learned"),
        ("pre", "none"),
        *(pytest.param(*other, marks=pytest.mark.slow) for other in (("post", "sinusoidal"), ("pre", "learned"))),
        pytest.param("post", "none", marks=pytest.mark.slow),
    ],
)
def test_every_variant_is_finite_and_hides_the_pad(norm, positions):
    config = dataclasses.replace(toy.CONFIG, norm=norm, positions=positions)
    logits = toy.model(config).apply(toy.params(config), BATCH)
    assert logits.dtype == jnp.float32
    assert (logits[..., 0] == -jnp.inf).all()
    assert jnp.isfinite(logits[..., 1:]).all()


def test_bf16_computes_near_f32_and_keeps_float32_parameters():
    config = dataclasses.replace(toy.CONFIG, dtype="bfloat16")
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(toy.params(config)))
    low, high = (toy.model(c).apply(toy.params(toy.CONFIG), BATCH)[..., 1:] for c in (config, toy.CONFIG))
    assert low.dtype == jnp.float32
    real = BATCH.target.real
    np.testing.assert_allclose(low[real], high[real], atol=0.15)
    assert (low[real] != high[real]).any()


def test_one_embedding_serves_both_sides():
    config = dataclasses.replace(toy.CONFIG, share_embeddings=True)
    model = dataclasses.replace(toy.model(config), source_vocabulary=19)
    params = jax.eval_shape(model.init, jax.random.PRNGKey(0), BATCH)["params"]
    assert params["target_embedder"]["embedding"].shape == (19, 16)
    assert "source_embedder" not in params
    with pytest.raises(ValueError, match="expected one vocabulary, got 17 source and 19 target ids"):
        jax.eval_shape(toy.model(config).init, jax.random.PRNGKey(0), BATCH)


def test_the_pad_s_embedding_gets_no_gradient():
    loss = lambda p: toy.model().apply(p, BATCH)[..., 1:][BATCH.target.real].sum()
    gradients = jax.jit(jax.grad(loss))(toy.params())["params"]
    assert not gradients["source_embedder"]["embedding"][0].any()
    assert not gradients["target_embedder"]["embedding"][0].any()
    assert gradients["source_embedder"]["embedding"][4:].any()


def test_the_pad_s_embedding_is_zero_and_never_moves():
    """Not even where the mask lets padding be read, and the logits are tied and smoothed."""
    masks = MaskConfig("full", "causal", "full")
    batch = toy.batches(toy.examples(4, longest=6), "static", 4)[0]
    optimizer = optax.adam(0.1)
    state = TrainState.create(toy.params(masks=masks), optimizer, 0)
    apply = lambda params, batch, rng: toy.model(masks=masks).apply(params, batch)
    step = jax.jit(functools.partial(train_step, apply=apply, optimizer=optimizer, label_smoothing=0.1))
    for _ in range(3):
        state, _ = step(state, batch)
    for side in ("source_embedder", "target_embedder"):
        table = state.params["params"][side]["embedding"]
        assert not np.any(table[0])
        assert np.any(table != toy.params(masks=masks)["params"][side]["embedding"]), "others move"


@pytest.mark.parametrize("tied", [True, False])
def test_ids_of_ten_by_five_give_logits_of_a_thousand(tied):
    """System E of the sources, with an embedding of its own on the output side, or the target's."""
    config = TransformerConfig(
        d_model=512, heads=8, d_ffn=64, encoder_layers=1, decoder_layers=1, dropout=0.0, tie_logits=tied
    )
    ids = np.random.default_rng(0).integers(4, 1000, (10, 5)).astype(np.int32)
    batch = Batch(source=Tokens.of(ids), target=Tokens.of(ids))
    logits = jax.eval_shape(
        lambda: Transformer(config, MaskConfig(), 1000, 1000).init_with_output(jax.random.PRNGKey(0), batch)[0]
    )
    assert logits.shape == (10, 5, 1000)


def test_shared_layers_are_the_decoder_s():
    config = dataclasses.replace(toy.CONFIG, share_layers=True)
    params = toy.params(config)["params"]
    assert not any(name.startswith("encoder_") and name != "encoder_norm" for name in params)
    assert Audited(toy.model(config), {"params": params}, BATCH, answers=1).check().ok
    leaky = dataclasses.replace(toy.model(config), masks=MaskConfig(encoder="padding"))
    report = Audited(leaky, {"params": params}, BATCH, answers=1).check()
    assert {leak.layer for leak in report.leaks} == {"decoder_0"}
    assert report.leaks
    with pytest.raises(ValueError, match="share_layers: expected as many layers on both sides, got 1 and 2"):
        dataclasses.replace(toy.CONFIG, decoder_layers=2, share_layers=True)


def test_a_model_that_sees_its_answer_leaks():
    """A mask that is declared is no excuse: the label of a slot is one slot further on."""
    sees = MaskConfig(decoder="segment")
    model = dataclasses.replace(toy.model(), masks=sees)
    leaks = Audited(model, toy.params(), BATCH, answers=1).check().leaks
    assert {leak.input for leak in leaks} == {"target"}
    assert all(leak.input_position > leak.output_position for leak in leaks)
    assert Audited(model, toy.params(), BATCH).check().ok, "obeys what it declares"
    unshifted = Audited(toy.model(), toy.params(), BATCH, answers=0).check().leaks
    assert {leak.input_position - leak.output_position for leak in unshifted} == {0}


def test_dropout_is_drawn_in_training_alone():
    model = toy.model(dataclasses.replace(toy.CONFIG, dropout=0.5, attention_dropout=0.5))
    run = lambda seed: model.apply(toy.params(), BATCH, False, rngs={"dropout": jax.random.PRNGKey(seed)})
    assert (run(0) == run(0)).all()
    assert (run(0) != run(1)).any()
    assert (model.apply(toy.params(), BATCH) == toy.model().apply(toy.params(), BATCH)).all()


def test_the_sinusoid_is_the_paper_s():
    table = sinusoid(np.arange(50, dtype=np.int32)[None], 6)
    np.testing.assert_allclose(table[0, :, 0], np.sin(np.arange(50)), atol=1e-5)
    np.testing.assert_allclose(table[0, :, 5], np.cos(np.arange(50) / 10_000), atol=1e-5)
    assert sinusoid(np.zeros((1, 1), np.int32), 5).shape == (1, 1, 5)


def test_a_learned_position_past_the_table_is_nan_not_another_position():
    config = dataclasses.replace(toy.CONFIG, positions="learned", max_positions=32)
    far = Tokens(BATCH.target.ids, BATCH.target.segments, BATCH.target.positions + 99)
    logits = toy.model(config).apply(toy.params(config), dataclasses.replace(BATCH, target=far))
    assert jnp.isnan(logits[..., 1:][BATCH.target.real]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "heads: expected a divisor of d_model 512, got 3"),
        ({"heads": 0}, "heads: expected at least 1, got 0"),
        ({"d_model": -4}, "d_model: expected at least 1, got -4"),
        ({"dropout": 1.0}, "dropout: expected 0 ≤ rate < 1"),
        ({"encoder_layers": 0}, "encoder_layers: expected at least 1"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**changes)


def test_masks_of_a_configuration_are_read_at_once():
    with pytest.raises(ValueError, match="did you mean 'causal'"):
        MaskConfig(decoder="causl & segment")
