"""How a trained model is judged: its loss, its answers, and what the audit finds in it."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask.answers import (
    GREEDY,
    at_once,
    batch_examples,
    bucketed,
    draw,
    longest_target,
    search_of,
    sources_of,
    write,
)
from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig, TaskName
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import Layout, make_layout
from flaxmask.data.tasks import Task
from flaxmask.data.vocabulary import EOS, PAD
from flaxmask.decoding.config import DecodingConfig
from flaxmask.evaluation.diversity import distinct, self_bleu
from flaxmask.evaluation.error_rates import sequence_errors, symbol_errors
from flaxmask.evaluation.loops import repeats, unending
from flaxmask.evaluation.scores import corpus_score
from flaxmask.evaluation.spans import span_counts
from flaxmask.evaluation.translation import signatures, translation_counts
from flaxmask.files import write_figure
from flaxmask.models.audited import Audited, EncoderDecoder, Model
from flaxmask.names import Refused
from flaxmask.reporting import results
from flaxmask.tokens import Array, Batch, Tokens
from flaxmask.training.loss import token_losses

AUDITED, SHORT = 6, 96
"""Examples of the batch that is audited, and the tokens that one may have where there are enough so short."""


class Judged(NamedTuple):
    """What a model made of the evaluation split.

    Attributes:
      counts: by metric, what it counts in each example, see `evaluation.scores`.
      lengths: of each example's longer side, in tokens, `[N, 1]`.
      samples: texts that were asked for, and what was written.
      signatures: of the scores of translations, sacreBLEU's.
    """

    counts: dict[str, np.ndarray]
    lengths: np.ndarray
    samples: dict[str, str]
    signatures: dict[str, str]

    @property
    def metrics(self) -> dict[str, float]:
        """Of all examples."""
        return {name: corpus_score(name, counts) for name, counts in self.counts.items()}


def evaluate(
    task: Task, model: Model, params: Any, data: DataConfig, decoding: DecodingConfig = GREEDY, seed: int = 0
) -> Judged:
    """Loss in nats a label without smoothing, the labels that come first in percent, and what the task is judged by.

    That is PER and WER for g2p, BLEU of words and characters and chrF for text_to_text and prefix_lm, all of what is
    decoded as `decoding` says, of samples all together; and for tagging the F1 of spans, and the labels that name
    something; in percent.
    """
    name, _, _ = data.known
    examples = task.evaluation
    found = []
    for placement in _evaluation_layout(data, examples).place(np.arange(len(examples)), examples.lengths):
        batch = build_batch(examples, placement, task.noise)
        losses, predicted = (np.asarray(x) for x in _judge(model, params, batch))
        counted = batch.weights > 0
        found.append([x[counted] for x in (batch.examples, batch.labels, predicted, losses)])
    example, labels, predicted, losses = (np.concatenate(parts) for parts in zip(*found, strict=True))
    per_example = lambda values: np.bincount(example, values, len(examples))
    right, ones = labels == predicted, np.ones(len(labels))
    counts = {
        "loss": np.stack([per_example(losses), per_example(ones)], axis=1),
        "accuracy": np.stack([per_example(right), per_example(ones)], axis=1),
    }
    samples, signed = {}, {}
    if name == "tagging":
        # Of a text in which nearly all tags are O, the others alone tell one model from another.
        named = labels != task.target_vocabulary.encode("O")[0]
        counts["named_accuracy"] = np.stack([per_example(right & named), per_example(named)], axis=1)
        order = np.argsort(example, kind="stable")
        parts = np.split(predicted[order], np.cumsum(per_example(ones).astype(int))[:-1])
        counts["span_f1"] = _span_counts(task, parts)
    elif name in ("g2p", "text_to_text", "prefix_lm"):
        if decoding.temperature is None:
            written = [[ids] for ids in write(task, model, params, sources_of(task), decoding)]
        else:
            written = [list(ids) for ids in draw(task, model, params, sources_of(task), decoding, seed)]
        texts = [_decoded(task, several) for several in written]
        by_number = lambda several: zip(*several, strict=True)
        numbered = zip(by_number(written), by_number(texts), strict=True)
        every = [_counts_of(name, *one, task.references) for one in numbered]
        counts |= {score: np.sum([of[score] for of in every], axis=0) for score in every[0]}
        if decoding.temperature is not None:
            counts |= {"distinct_2": distinct(texts), "self_bleu": self_bleu(texts)}
        signed = {} if name == "g2p" else signatures(task.references)
        if data.sample is not None and name == "text_to_text":
            beams = decoding if decoding.temperature is None else GREEDY
            shown = np.array(task.source_vocabulary.encode(data.sample), np.int32)
            samples = {data.sample: _decoded(task, write(task, model, params, [shown], beams))[0]}
    lengths = examples.lengths.max(axis=1, keepdims=True)
    if data.train_longest is not None:
        longer = lengths > data.train_longest
        for score in counts.keys() & {"per", "wer"}:
            counts |= {f"{score}_trained": counts[score] * ~longer, f"{score}_longer": counts[score] * longer}
    return Judged(counts, lengths, samples, signed)


def _evaluation_layout(data: DataConfig, examples: Examples) -> Layout:
    """The row's own where it asks for it; else one for every row of a table, so that the same programs judge them."""
    if data.evaluation_layout == "own":
        own = dataclasses.replace(data, batch_examples=batch_examples(examples.lengths), batch_tokens=None)
        return make_layout(own, examples.lengths)
    return bucketed(examples.lengths)


def _span_counts(task: Task, predicted: Sequence[np.ndarray]) -> np.ndarray:
    """Of the words that a row had room for; the tags of others count as O."""
    references = [tags.split(" ") for [tags] in task.references]
    # One by one: an end mark, which an untrained model may predict, would end the text.
    hypotheses = [[task.target_vocabulary.decode([label]) for label in ids.tolist()] for ids in predicted]
    cut = [tags + ["O"] * (len(wanted) - len(tags)) for tags, wanted in zip(hypotheses, references, strict=True)]
    return span_counts(cut, references)


def _counts_of(
    name: TaskName, written: Sequence[np.ndarray], texts: Sequence[str], references: list[list[str]]
) -> dict[str, np.ndarray]:
    """All that is counted of one output of each source."""
    loops = {"unending": unending(written, EOS), "repeated_4grams": repeats(written, (PAD, EOS))}
    return _counts(name, list(texts), references) | loops


def _counts(name: TaskName, hypotheses: list[str], references: list[list[str]]) -> dict[str, np.ndarray]:
    if name != "g2p":
        return translation_counts(hypotheses, references)
    return {"per": symbol_errors(hypotheses, references), "wer": sequence_errors(hypotheses, references)}


def _decoded(task: Task, written: Sequence[np.ndarray]) -> list[str]:
    """The texts of what was written."""
    return [task.target_vocabulary.decode(ids.tolist()) for ids in written]


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


def few(task: Task, data: DataConfig) -> Batch:
    """Some short examples of the evaluation in the row's own layout; what a mask forgets shows itself in few."""
    examples = task.evaluation
    by_length = np.argsort(np.maximum(examples.lengths.sum(axis=1), SHORT), kind="stable")
    chosen = np.sort(by_length[:AUDITED])
    own = {"batch_examples": len(chosen), "batch_tokens": None, "shapes": 1, "pack_pool": None, "pack_length": None}
    data = dataclasses.replace(data, **own, packer="lpfhp" if data.packer == "nnlshp" else data.packer)
    [placement, *_] = make_layout(data, examples.lengths[chosen]).place(chosen, examples.lengths)
    return build_batch(examples, placement)


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
    trained = Audited(model, params, few(task, data), task.answers)
    report = trained.check()
    flat = trained.flat().check() if model.scores else report
    # Two of the commonest lengths, so that few shapes are compiled.
    _, of, counts = np.unique(examples.lengths, axis=0, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(of.reshape(-1) == np.argmax(counts))
    pair = alike[:2] if len(alike) > 1 else [0, len(examples) - 1]
    write = None
    how: dict[str, Any] = {"side": data.padding_side}
    if isinstance(model, EncoderDecoder):
        write = lambda source, target: _written(task, model, params, source)
    elif examples.prefix is not None:
        how["prefixes"] = [examples.prefix[i] > 0 for i in pair]
        write = lambda target: _written(task, model, params, _prefix(target))
    drift = trained.drift([_inputs(examples, int(i)) for i in pair], write, pads=(5,), **how)

    text = f"as trained: {report}\nwith flat scores: {flat}\n{drift}\n"
    results.write_whole(kept.with_name(kept.name + ".txt"), text)
    found = {"trained": report.to_json(), "flat": flat.to_json()}
    whole = {name: json.loads(text) for name, text in found.items()} | {"drift": dataclasses.asdict(drift)}
    results.write_whole(kept.with_name(kept.name + ".json"), json.dumps(whole, indent=1) + "\n")
    write_figure(kept.with_name(kept.name + ".png"), flat.figure(), dpi=150)
    # A sharp softmax underflows: what it never moved it may move after the next update.
    return {
        "leaks": len({leak[:5] for leak in (*report.leaks, *flat.leaks)}),
        "dead": len(flat.dead),
        "nan_outputs": len({*report.nan, *flat.nan}),
        "batch_drift": drift.largest,
    }


def _written(task: Task, model: Any, params: Any, source: Tokens) -> list[list[int]]:
    return np.asarray(at_once(model, search_of(GREEDY, longest_target(task)), params, source)).tolist()


def _prefix(tokens: Tokens) -> Tokens:
    """The prefixes alone, with padding where the rest stood."""
    only = lambda x: np.where(tokens.prefix, x, 0).astype(np.int32)
    return Tokens(only(tokens.ids), only(tokens.segments), tokens.positions, None, tokens.layout)


def _inputs(examples: Examples, i: int) -> dict[str, np.ndarray]:
    """One example as the model reads it."""
    sides = {"source": examples.source, "target": examples.target}
    return {name: ragged[i] for name, ragged in sides.items() if ragged is not None}


@functools.partial(jax.jit, static_argnums=0)
def _judge(model: Model, params: Any, batch: Batch) -> tuple[Array, Array]:
    """The loss of each label, and the ids whose logits are the largest."""
    logits: Any = model.apply(params, batch)
    return token_losses(logits, batch.labels, batch.weights), jnp.argmax(logits, axis=-1)
