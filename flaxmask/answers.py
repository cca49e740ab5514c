"""What a model writes for sources: batches of like length, decoded in few programs."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import Layout, make_layout, round_up
from flaxmask.data.ragged import Ragged
from flaxmask.data.tasks import Task
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.decoding.beam import Found, beam_search
from flaxmask.decoding.config import DecodingConfig
from flaxmask.decoding.greedy import greedy
from flaxmask.decoding.steps import Step
from flaxmask.tokens import Array, Tokens

GREEDY = DecodingConfig()

TOKENS = 8192
"""Tokens of a batch that is judged or decoded: its logits are held at once."""


def write(
    task: Task, model: Any, params: Any, sources: Sequence[np.ndarray], decoding: DecodingConfig
) -> list[np.ndarray]:
    """The ids that a model writes for the ids of each source; padding stands behind an end mark."""
    written = [np.zeros(0, np.int32)] * len(sources)
    for places, source in source_batches(sources):
        ids = np.asarray(decode_batch(model, longest_target(task), decoding, params, source))
        for place, row in zip(places, ids, strict=False):
            written[place] = row
    return written


def sources_of(task: Task) -> list[np.ndarray]:
    """What is read of each example before anything is written."""
    examples = task.evaluation
    if examples.source is not None:
        return [examples.source[i] for i in range(len(examples))]
    target, prefix = examples.target, examples.prefix
    assert target is not None and prefix is not None, "a task of text has a source or a prefix"  # noqa: PT018
    return [target[i][prefix[i] > 0] for i in range(len(examples))]


def source_batches(sources: Sequence[np.ndarray]) -> Iterator[tuple[list[int], Tokens]]:
    """Sources in batches of like length and few shapes: which they are, and their rows; empty ones may follow."""
    lengths = np.array([[len(ids), 0] for ids in sources])
    data = Examples(Ragged.of(sources), None, Ragged.of(sources))
    for placement in bucketed(lengths).place(np.arange(len(sources)), lengths):
        yield placement.pieces.examples.tolist(), build_batch(data, placement).source


def bucketed(lengths: np.ndarray) -> Layout:
    """Batches of like length; of few examples one shape, since compiling another costs more than it saves."""
    shapes = 2 if len(lengths) > 1000 else 1
    return make_layout(DataConfig(layout="bucketed", shapes=shapes, batch_examples=batch_examples(lengths)), lengths)


def batch_examples(lengths: np.ndarray) -> int:
    return int(np.clip(TOKENS / lengths.mean(axis=0).max(), 1, min(256, len(lengths))))


def decode(model: Any, params: Any, source: Tokens, length: int, how: DecodingConfig = GREEDY) -> Int[Array, "B L"]:
    """What is written for each row of `source`, in at most `length` tokens."""
    if how.beams > 1:
        return search(model, params, source, length, how).ids[:, 0]
    return greedy(*started(model, params, source, length), source.shape[0], length, bos=BOS, eos=EOS)


def search(model: Any, params: Any, source: Tokens, length: int, how: DecodingConfig) -> Found:
    """The best answers to each row of `source`, as many as there are beams."""
    step, cache = started(model, params, source, length * how.beams)
    by = {"beams": how.beams, "length_penalty": how.length_penalty, "early_stopping": how.early_stopping}
    return beam_search(step, cache, source.shape[0], length, bos=BOS, eos=EOS, **by)


def started(model: Any, params: Any, source: Tokens, slots: int) -> tuple[Step, Any]:
    """A model's step, and its cache before the first one."""
    step = lambda cache, tokens: model.apply(params, cache, tokens, method="step")
    return step, model.apply(params, source, slots, method="start")


def longest_target(task: Task) -> int:
    """Slots that hold every target."""
    train = task.train
    prefix = 0 if train.prefix is None else np.add.reduceat(train.prefix.values, train.prefix.offsets[:-1])
    return round_up(int((train.lengths[:, 1] - prefix).max()), 8)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def decode_batch(model: Any, length: int, how: DecodingConfig, params: Any, source: Tokens) -> Array:
    return decode(model, params, source, length, how)
