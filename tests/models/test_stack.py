import dataclasses
import functools

import jax
import numpy as np
import pytest

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples, Row
from flaxmask.data.layouts import make_layout
from flaxmask.data.noise import MaskedTokens
from flaxmask.data.tasks.text_to_text import prefix_row
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.models.audited import Audited
from flaxmask.models.config import MaskConfig
from flaxmask.models.pooling import Pooled
from flaxmask.models.stack import Stack
from flaxmask.tokens import Tokens
from flaxmask.training.loss import cross_entropy
from tests import toy

SIZE = 20
CONFIG = dataclasses.replace(toy.CONFIG, encoder_layers=2, decoder_layers=2)
PREFIX = MaskConfig(decoder="segment & (causal | prefix)")
TASKS = {"mlm": MaskConfig(), "lm": MaskConfig(), "prefix_lm": PREFIX, "tagging": MaskConfig()}
NOISE = MaskedTokens(SIZE - 1, 0.4)


def text(rng) -> list[int]:
    return [*rng.integers(4, SIZE - 1, rng.integers(1, 7)).tolist(), EOS]


def row(task: str, rng) -> Row:
    """One example of a task."""
    ids = text(rng)
    return {
        "mlm": lambda: Row([BOS, *ids], None, [BOS, *ids]),
        "lm": lambda: Row(None, [BOS, *ids[:-1]], ids),
        "prefix_lm": lambda: prefix_row(ids, text(rng)),
        "tagging": lambda: Row(ids, None, [4 + i % 3 for i in ids], [i % 2 for i in ids]),
    }[task]()


@functools.cache
def examples(task: str) -> Examples:
    rng = np.random.default_rng(0)
    return Examples.of_rows((row(task, rng) for _ in range(12)), (SIZE, SIZE))


def batches(task: str, layout: str):
    data = examples(task)
    config = DataConfig(layout=layout, batch_examples=6, shapes=1)
    placements = make_layout(config, data.lengths).place(np.arange(len(data)), data.lengths)
    return [build_batch(data, placement, NOISE if task == "mlm" else None) for placement in placements]


@functools.cache
def model(task: str) -> Stack:
    stream = "target" if task in ("lm", "prefix_lm") else "source"
    return Stack(CONFIG, TASKS[task], SIZE, 7 if task == "tagging" else SIZE, stream)


@functools.cache
def params(task: str):
    return toy.drawn(model(task), batches(task, "static")[0])


@pytest.mark.parametrize(
    "task", ["prefix_lm", *(pytest.param(task, marks=pytest.mark.slow) for task in ("mlm", "lm", "tagging"))]
)
def test_the_loss_and_its_gradients_are_the_same_in_every_layout(task):
    @jax.jit
    def sums(params, batch):
        apply = lambda p: cross_entropy(model(task).apply(p, batch), batch.labels, batch.weights)
        (total, count), gradients = jax.value_and_grad(apply, has_aux=True)(params)
        return total, count, gradients

    found = []
    for layout in ("static", "packed"):
        parts = [sums(params(task), batch) for batch in batches(task, layout)]
        found.append(jax.tree.map(lambda *x: sum(x), *parts))
    (total, count, gradients), (other, same, others) = jax.tree.map(np.asarray, found)
    assert count == same > 0
    np.testing.assert_allclose(total, other, rtol=1e-5)
    norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(gradients)))
    for left, right in zip(jax.tree.leaves(gradients), jax.tree.leaves(others), strict=True):
        assert np.abs(left - right).max() < 1e-5 * norm


@pytest.mark.parametrize("layout", [pytest.param("static", marks=pytest.mark.slow), "packed"])
@pytest.mark.parametrize("task", TASKS)
def test_it_reads_what_its_mask_declares(task, layout):
    batch = batches(task, layout)[0]
    report = Audited(model(task), params(task), batch).check()
    assert report.ok, report
    assert not report.dead


def test_a_causal_model_that_sees_everything_is_shown_to_leak():
    batch = batches("lm", "static")[0]
    seen = dataclasses.replace(model("lm"), masks=MaskConfig(decoder="segment"))
    report = Audited(seen, params("lm"), batch).check(model("lm").flow(batch))
    assert not report.ok
    assert {leak.layer for leak in report.leaks} == {"layers_0"}


def test_the_prefix_sees_the_prefix_and_nothing_of_what_follows():
    batch = batches("prefix_lm", "static")[0]
    mask = np.asarray(model("prefix_lm").flow(batch)[0].mask)[0, 0]
    count = int(batch.target.prefix[0].sum())
    assert mask[:count, :count].all(), "both ways"
    assert not mask[:count, count:].any()


def test_logits_have_a_column_a_label():
    assert model("tagging").apply(params("tagging"), batches("tagging", "static")[0]).shape[-1] == 7
    assert "head" in params("tagging")["params"]
    assert "head" not in params("mlm")["params"], "tied to the embedding"


def test_steps_behind_a_prefix_give_the_logits_of_the_whole():
    """The prefix is read at once, padded to the longest of the batch; what follows one token at a time."""
    batch = batches("prefix_lm", "static")[0]
    whole = np.asarray(jax.jit(model("prefix_lm").apply)(params("prefix_lm"), batch))
    count = batch.target.prefix.sum(axis=1)
    source = np.zeros((len(count), count.max() + 2), np.int32)
    for row, ids in enumerate(batch.target.ids):
        source[row, : count[row]] = ids[: count[row]]
    apply = functools.partial(model("prefix_lm").apply, params("prefix_lm"))
    cache = jax.jit(lambda: apply(Tokens.of(source, layout="rows"), 8, method="start"))()
    step = jax.jit(functools.partial(apply, method="step"))
    rows = np.arange(len(count))
    longest = (batch.target.real.sum(axis=1) - count).max()
    for t in range(longest):
        at = np.minimum(count + t, batch.target.shape[1] - 1)
        ones = np.ones((len(rows), 1), np.int32)
        logits, cache = step(cache, Tokens(batch.target.ids[rows, at][:, None], ones, ones * t))
        real = batch.target.real[rows, at] & (count + t < batch.target.shape[1])
        assert real.any()
        np.testing.assert_allclose(np.asarray(logits)[real, 0, 1:], whole[rows, at][real, 1:], atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "query"])
@pytest.mark.parametrize("layout", ["static", "packed"])
def test_what_is_pooled_is_the_example_s_alone(pooling, layout):
    """In every layout, and from all of its positions."""
    config = dataclasses.replace(CONFIG, pooling=pooling)
    pooled = Stack(config, MaskConfig(), SIZE, 7, "source", pooled=True)
    batch = batches("tagging", layout)[0]
    weights = toy.drawn(pooled, batch)
    report = Audited(pooled, weights, batch).check()
    assert report.ok, str(report)
    assert not report.dead, "the first position reads the whole example, whatever its place in the row"


def test_a_pooled_mean_is_the_mean_of_the_example():
    batch = batches("tagging", "static")[0]
    x = np.random.default_rng(0).normal(size=(*batch.source.shape, CONFIG.d_model)).astype(np.float32)
    pool = Pooled(dataclasses.replace(CONFIG, pooling="mean"))
    out = np.asarray(pool.apply({}, x, batch.source))
    for row, real in enumerate(batch.source.real):
        np.testing.assert_allclose(out[row, 0], x[row, real].mean(axis=0), atol=1e-6)


def test_drift_of_a_prefix_is_asked_with_its_flags():
    """An answer that depends on them differs from one without; in company neither moves."""
    data = examples("prefix_lm")
    flags = [data.prefix[i] > 0 for i in (0, 1)]
    audited = Audited(model("prefix_lm"), params("prefix_lm"), batches("prefix_lm", "static")[0])
    seen = []

    def write(target):
        seen.append(target.prefix)
        return target.ids.tolist()

    found = audited.drift([{"target": data.target[i]} for i in (0, 1)], write, pads=(3,), prefixes=flags)
    assert found.largest < 1e-5
    assert [int(flag.sum()) for flag in flags] == [int(flag.sum()) for flag in seen[:2]]
