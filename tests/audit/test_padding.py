"""Planted faults of losses: what padding does to totals, counts and gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Batch, Tokens, audit, masks
from flaxmask.readout import Readout
from flaxmask.training.loss import cross_entropy
from tests import toy

DATA = toy.examples(3, longest=4)
ALONE = toy.batches(DATA, "dynamic", 1, shapes=8)
PACKED = toy.batches(DATA, "packed", 3, pack_length=24)[0]


RNG = np.random.default_rng(0)
SMALL = {
    "params": {
        name: {"embedding": jnp.asarray(RNG.normal(size=(size, 4)), jnp.float32)}
        for name, size in zip(("source_embedder", "target_embedder"), toy.SIZES, strict=True)
    }
}


def apply(params, batch):
    """Logits from the mean of the example's source and the sum of its target so far, without a layer to compile."""
    source, target = (params["params"][f"{name}_embedder"]["embedding"] for name in ("source", "target"))
    cross, causal = (
        masks.segment(batch.target, batch.source),
        (masks.causal & masks.segment)(batch.target, batch.target),
    )
    mean = cross[:, 0] / jnp.maximum(cross[:, 0].sum(-1, keepdims=True), 1) @ source[batch.source.ids]
    return Readout(mean + causal[:, 0].astype(jnp.float32) @ target[batch.target.ids], target).logits()


def right(params, batch, smoothing=0.1):
    return cross_entropy(apply(params, batch), batch.labels, batch.weights, smoothing)


def pad_rows(params):
    inside = params["params"]
    return {name: inside[name]["embedding"][0] for name in ("source_embedder", "target_embedder")}


def audited(fn):
    return audit.padding(jax.jit(fn), SMALL, ALONE, PACKED, pad_rows)


@pytest.mark.slow
def test_the_loss_of_training_is_clean():
    assert PACKED.source.shape[0] < len(ALONE), "several examples share a row"
    assert not PACKED.target.real.all()
    report = audited(right)
    assert report.ok, str(report)
    assert str(report) == "padding: nothing to loss and gradients"


@pytest.mark.slow
def test_the_loss_of_a_transformer_is_clean():
    @jax.jit
    def loss(params, batch):
        return cross_entropy(toy.model().apply(params, batch, method="readout"), batch.labels, batch.weights, 0.1)

    report = audit.padding(loss, toy.params(), ALONE, PACKED, pad_rows)
    assert report.ok, str(report)


def weights_everywhere(params, batch):
    everywhere = jnp.ones_like(batch.weights)
    logits = jnp.where(jnp.isfinite(apply(params, batch)), apply(params, batch), -9.0)
    return cross_entropy(logits, batch.labels, everywhere)


def divided_by_the_padded_count(params, batch):
    return right(params, batch)[0], jnp.float32(batch.labels.size)


def pad_s_logit_in_the_softmax(params, batch):
    """Tied logits without the pad's at −∞: the embedding of padding moves."""
    table = params["params"]["target_embedder"]["embedding"]
    total, count = right(params, batch)
    return total + jnp.sum(jax.nn.logsumexp(batch.weights[..., None] * table[0].sum(), axis=-1)), count


def segments_ignored(params, batch):
    """The masks of one example a row, over packed rows."""
    one = lambda t: dataclasses.replace(t, segments=jnp.minimum(t.segments, 1), layout="any")
    return right(params, Batch(one(batch.source), one(batch.target), batch.labels, batch.weights))


def labels_of_the_next_slot(params, batch):
    """The last token of an example is to predict the first of the next one."""
    labels = jnp.roll(batch.labels, -1, axis=1)
    return cross_entropy(apply(params, batch), jnp.where(batch.weights > 0, labels, 0), batch.weights * (labels > 0))


def mean_of_row_means(params, batch):
    logits = apply(params, batch)
    each = [
        cross_entropy(logits[i : i + 1], batch.labels[i : i + 1], batch.weights[i : i + 1]) for i in range(len(logits))
    ]
    return sum(total / count for total, count in each), jnp.float32(len(each))


def padding_s_embedding_averaged_in(params, batch):
    """A penalty on all embeddings of the batch, padding's among them."""
    table = params["params"]["source_embedder"]["embedding"]
    total, count = right(params, batch)
    return total + 1e-3 * jnp.sum(table[batch.source.ids] ** 2), count


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (weights_everywhere, "divided by"),
        (divided_by_the_padded_count, "divided by 24: "),
        (pad_s_logit_in_the_softmax, "the embedding of .*target_embedder.* gets a gradient"),
        (segments_ignored, "the loss of the packed rows is"),
        (labels_of_the_next_slot, "the loss of the packed rows is"),
        (mean_of_row_means, "divided by 1"),
        (padding_s_embedding_averaged_in, "ids and labels on padding move the total"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_wrong_loss_is_caught(fault, says):
    import re

    report = audited(fault)
    assert not report.ok
    assert re.search(says, str(report)), str(report)


def test_label_smoothing_over_padding():
    """With finite pad logits and smoothing over all ids, the pad's row of the table gets a gradient."""

    def smoothed(params, batch):
        table = params["params"]["target_embedder"]["embedding"]
        logits = table[batch.target.ids] @ table.T
        return jnp.sum(-jax.nn.log_softmax(logits).mean(-1) * batch.weights), jnp.sum(batch.weights)

    report = audited(smoothed)
    assert ["target_embedder" in finding for finding in report.findings] == [True]


def test_weights_on_padding_are_seen_where_there_is_some():
    tokens = Tokens.of(np.array([[3, 4, 0]]))
    batch = Batch(None, tokens, tokens.ids, np.ones((1, 3), np.float32))
    alone = Batch(None, Tokens.of(np.array([[3, 4]])), np.array([[3, 4]], np.int32), np.ones((1, 2), np.float32))
    fn = lambda params, b: (jnp.sum(params[b.labels] * b.weights), jnp.sum(b.weights))
    report = audit.padding(fn, jnp.arange(1.0, 6.0), [alone], batch, lambda p: p[0])
    assert len(report.findings) == 4
    assert "divided by 3: 2 target tokens are real, 2 alone" in str(report)


def test_a_count_that_is_wrong_alone_too():
    tokens = Tokens.of(np.array([[3, 4]]))
    batch = Batch(None, tokens, tokens.ids, np.ones((1, 2), np.float32))
    fn = lambda params, b: (jnp.sum(params[b.labels] * b.weights), jnp.sum(b.weights) / 2)
    report = audit.padding(fn, jnp.arange(1.0, 6.0), [batch], batch, lambda p: p[0])
    assert report.findings == ("divided by 1: 2 target tokens are real, 1 alone",)
