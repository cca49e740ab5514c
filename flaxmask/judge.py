"""How a trained model is judged: its loss, its answers, and what the audit finds in it."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig, TaskName
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import make_layout, round_up
from flaxmask.data.tasks import Task
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.decoding.greedy import greedy
from flaxmask.evaluation.error_rates import sequence_error_rate, symbol_error_rate
from flaxmask.models.audited import Audited, EncoderDecoder, Model
from flaxmask.names import Refused
from flaxmask.reporting import results
from flaxmask.tokens import Array, Batch, Tokens
from flaxmask.training.loss import cross_entropy

AUDITED, SHORT = 6, 96
"""Examples of the batch that is audited, and the tokens that one may have where there are enough so short."""

JUDGED = 8192
"""Tokens of a batch that is judged: its logits are held at once."""


def evaluate(task: Task, model: Model, params: Any, name: TaskName) -> dict[str, float]:
    """Loss in nats a label without smoothing, the labels that come first in percent, and what the task is judged by.

    That is PER and WER of greedy decoding in percent for g2p.
    """
    examples = task.evaluation
    written: dict[int, str] = {}
    totals = np.zeros(3)
    # One layout for every row of a table, so that they are judged by the same programs.
    size = int(np.clip(JUDGED / examples.lengths.mean(axis=0).max(), 1, 256))
    layout = make_layout(DataConfig(layout="bucketed", shapes=2, batch_examples=size), examples.lengths)
    for placement in layout.place(np.arange(len(examples)), examples.lengths):
        batch = build_batch(examples, placement, task.noise)
        totals += np.asarray(_judge(model, params, batch), np.float64)
        if name == "g2p" and isinstance(model, EncoderDecoder):
            ids = np.asarray(_decode(model, _longest_target(task), params, batch.source))
            for example, row in zip(placement.pieces.examples.tolist(), ids, strict=False):
                written[example] = task.target_vocabulary.decode(row.tolist())
    total, count, right = totals
    found = {"loss": total / count, "accuracy": 100.0 * right / count}
    if written:
        hypotheses = [written[example] for example in range(len(examples))]
        found["per"] = symbol_error_rate(hypotheses, task.references)
        found["wer"] = sequence_error_rate(hypotheses, task.references)
    return found


def check_labels(task: Task):
    """Refuse, before anything is trained, an evaluation split of which no label counts."""
    examples = task.evaluation
    read = examples.source if examples.target is None else examples.target
    if examples.weights is not None:
        counted = examples.weights.values
    elif task.noise is not None and read is not None:
        owner = np.repeat(np.arange(len(read)), read.lengths)
        _, counted = task.noise(read.values, 0, owner, np.arange(len(owner)) - read.offsets[owner])
    else:
        counted = examples.labels.values
    if not np.any(counted):
        raise Refused(f"none of the {len(counted)} labels of the evaluation split counts: give more of it to judge by")


def audit_model(task: Task, model: Model, params: Any, data: DataConfig, kept: Path) -> dict[str, float]:
    """Every edge of the model in the row's own layout, its scores as trained and flat, and how far answers drift.

    Args:
      task: the cell's.
      model: the cell's.
      params: trained.
      data: names the layout.
      kept: findings are written beside this name.
    """
    examples = task.evaluation
    # Few examples in the layout of the row; what a mask forgets shows itself in a small batch.
    by_length = np.argsort(np.maximum(examples.lengths.sum(axis=1), SHORT), kind="stable")
    chosen = np.sort(by_length[:AUDITED])
    own = {"batch_examples": len(chosen), "batch_tokens": None, "shapes": 1, "pack_pool": None, "pack_length": None}
    data = dataclasses.replace(data, **own, packer="lpfhp" if data.packer == "nnlshp" else data.packer)
    [placement, *_] = make_layout(data, examples.lengths[chosen]).place(chosen, examples.lengths)
    trained = Audited(model, params, build_batch(examples, placement))
    report = trained.check()
    flat = trained.flat().check() if model.scores else report
    # Two of the commonest lengths, so that few shapes are compiled.
    _, of, counts = np.unique(examples.lengths, axis=0, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(of.reshape(-1) == np.argmax(counts))
    pair = alike[:2] if len(alike) > 1 else [0, len(examples) - 1]
    write = None
    if isinstance(model, EncoderDecoder):
        write = lambda source: np.asarray(_decode(model, _longest_target(task), params, source)).tolist()
    drift = trained.drift([_inputs(examples, int(i)) for i in pair], write, pads=(5,))

    text = f"as trained: {report}\nwith flat scores: {flat}\n{drift}\n"
    results.write_whole(kept.with_name(kept.name + ".txt"), text)
    found = {"trained": report.to_json(), "flat": flat.to_json()}
    whole = {name: json.loads(text) for name, text in found.items()} | {"drift": dataclasses.asdict(drift)}
    results.write_whole(kept.with_name(kept.name + ".json"), json.dumps(whole, indent=1) + "\n")
    flat.figure().savefig(kept.with_name(kept.name + ".png"), dpi=150)
    # A sharp softmax underflows: what it never moved it may move after the next update.
    return {
        "leaks": len({leak[:5] for leak in (*report.leaks, *flat.leaks)}),
        "dead": len(flat.dead),
        "nan_outputs": len({*report.nan, *flat.nan}),
        "batch_drift": drift.largest,
    }


def decode(model: EncoderDecoder, params: Any, source: Tokens, length: int) -> Array:
    """Greedy decoding of `source`, `[B, length]`."""
    cache = model.apply(params, source, length, method="start")
    step = lambda cache, tokens: model.apply(params, cache, tokens, method="step")
    return greedy(step, cache, source.shape[0], length, bos=BOS, eos=EOS)


def _longest_target(task: Task) -> int:
    """Slots that hold every target."""
    return round_up(int(task.train.lengths[:, 1].max()), 8)


def _inputs(examples: Examples, i: int) -> dict[str, np.ndarray]:
    """One example as the model reads it."""
    sides = {"source": examples.source, "target": examples.target}
    return {name: ragged[i] for name, ragged in sides.items() if ragged is not None}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode(model: EncoderDecoder, length: int, params: Any, source: Tokens) -> Array:
    return decode(model, params, source, length)


@functools.partial(jax.jit, static_argnums=0)
def _judge(model: Model, params: Any, batch: Batch) -> tuple[Array, Array, Array]:
    """Sums of the loss, of the labels that count, and of those whose logit is the largest."""
    logits: Any = model.apply(params, batch)
    right = jnp.argmax(logits, axis=-1) == batch.labels
    return *cross_entropy(logits, batch.labels, batch.weights), jnp.sum(right * batch.weights)
