"""What is asked of a trained model beside its scores: what its attention computes, and whether its weights explain.

Sources are hidden as padding is: the audit proves that nothing of padding is read, so what moves is what was read.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import stats

from flaxmask.attended import sown
from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.layouts import make_layout
from flaxmask.data.tasks import Task
from flaxmask.models.audited import Model
from flaxmask.models.config import TransformerConfig
from flaxmask.tokens import Array, Batch

CROSSING = ("cross_attention", "attention")
"""Of a Transformer and of an LSTM: the attention of a target over a source."""
FEWEST = 4
"""Positions of a source of which an order says something."""


def visible_flops(model: Model, params: Any, batch: Batch, config: TransformerConfig) -> float:
    """Operations a token of the two products of every attention, of those cells alone that have a weight.

    Of a mask by content they are the cells that it chose; a weight may underflow to 0, which then counts as hidden.
    """
    _, found = _attended(model, params, batch)
    cells = sum(int(np.count_nonzero(weights)) for _, _, weights, _ in sown(found))
    sides = [side for side in (batch.source, batch.target) if side is not None]
    tokens = sum(int(np.count_nonzero(side.segments)) for side in sides)
    return 4.0 * cells * (config.d_model // config.heads) / tokens


def first_rows(task: Task, data: DataConfig, count: int) -> Batch:
    """The first examples of the evaluation, one a row."""
    lengths = task.evaluation.lengths[:count]
    alone = DataConfig(layout="static", batch_examples=len(lengths), length=data.length)
    [placement, *_] = make_layout(alone, lengths).place(np.arange(len(lengths)), task.evaluation.lengths)
    return build_batch(task.evaluation, placement, task.noise)


def explained(model: Model, params: Any, batch: Batch) -> dict[str, float]:
    """How cross-attention's weights order the source beside what hiding each position does to the output.

    The weight of a position is its mean over layers and heads; its effect half the sum of the differences of the
    output's probabilities when it is hidden (total variation).

    Returns:
      `attention_rank`: Spearman's ρ of the two over a source's positions, mean of all labels whose source has `FEWEST`;
      `attention_top`: of these labels the percentage whose most attended position has the largest effect.
    """
    assert batch.source is not None and batch.target is not None, "two sides"  # noqa: PT018
    whole, found = _attended(model, params, batch)
    crossing = [weights.mean(axis=1) for path, _, weights, _ in sown(found) if path[-1] in CROSSING]
    weights = np.mean(crossing, axis=0)
    effects = np.stack([_moved(model, params, batch, whole, at) for at in range(batch.source.shape[1])], axis=-1)
    ranks, tops = [], []
    real = np.asarray(batch.source.segments) > 0
    for row, label in np.argwhere(np.asarray(batch.weights) > 0):
        if real[row].sum() >= FEWEST:
            ours, theirs = weights[row, label][real[row]], effects[row, label][real[row]]
            tops.append(np.argmax(ours) == np.argmax(theirs))
            # Of equal numbers there is no order.
            ranks.append(stats.spearmanr(ours, theirs)[0] if np.ptp(ours) and np.ptp(theirs) else 0.0)
    return {"attention_rank": float(np.mean(ranks)), "attention_top": 100.0 * float(np.mean(tops))}


@functools.partial(jax.jit, static_argnums=0)
def _attended(model: Model, params: Any, batch: Batch) -> tuple[Array, Any]:
    logits, found = model.apply(params, batch, mutable=["attention"])
    return jax.nn.softmax(logits, axis=-1), found


@functools.partial(jax.jit, static_argnums=0)
def _moved(model: Model, params: Any, batch: Batch, whole: Array, at: Any) -> Float[Array, "B T"]:
    """How far the probabilities move when one position of every source is hidden."""
    source: Any = batch.source
    hidden = jnp.arange(source.shape[1])[None] == at
    # Gaps are not what "rows" promises.
    gone = dataclasses.replace(source, segments=jnp.where(hidden, 0, source.segments), layout="any")
    logits: Any = model.apply(params, dataclasses.replace(batch, source=gone))
    return jnp.abs(jax.nn.softmax(logits, axis=-1) - whole).sum(axis=-1) / 2
