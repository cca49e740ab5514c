"""What a model writes for sources: batches of like length, decoded in few programs."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import Layout, make_layout, round_up
from flaxmask.data.ragged import Ragged
from flaxmask.data.tasks import Task
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.decoding import steps
from flaxmask.decoding.beam import Beam, Found
from flaxmask.decoding.config import DecodingConfig
from flaxmask.decoding.greedy import Greedy
from flaxmask.decoding.sampling import Sampler, sample
from flaxmask.decoding.steps import Search, Step, go_on, narrow
from flaxmask.tokens import Array, Tokens

GREEDY = DecodingConfig()

TOKENS = 8192
"""Tokens of a batch that is judged or decoded: its logits are held at once."""


STEPS = 16
"""Tokens that the caches of a large batch hold at first; then twice as many, and so on."""

LARGE = 64
"""Sources of a batch from which on it is decoded in stages; of fewer, more programs cost more than they save."""


def write(
    task: Task, model: Any, params: Any, sources: Sequence[np.ndarray], decoding: DecodingConfig
) -> list[np.ndarray]:
    """The ids that a model writes for the ids of each source; padding stands behind an end mark."""
    written = [np.zeros(0, np.int32)] * len(sources)
    how = search_of(decoding, longest_target(task))
    for places, source in source_batches(sources):
        found = in_stages(model, how, params, source)
        for place, ids in zip(places, found.ids[:, 0] if isinstance(found, Found) else found, strict=False):
            written[place] = ids
    return written


def draw(
    task: Task, model: Any, params: Any, sources: Sequence[np.ndarray], decoding: DecodingConfig, seed: int
) -> list[np.ndarray]:
    """For each source int `[K, L]`: the ids of its samples, padding behind an end mark.

    What is drawn for a source is a function of the seed and its number.
    """
    how = Sampler(temperature=decoding.temperature or 0.0, top_k=decoding.top_k, top_p=decoding.top_p).check()
    drawn = [np.zeros((0, 0), np.int32)] * len(sources)
    for places, source in source_batches(sources):
        numbers = np.resize(np.array(places, np.int32), source.shape[0])  # empty rows may follow
        keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.PRNGKey(seed)))(numbers)
        found = _draw(model, how, longest_target(task), decoding.samples, params, source, keys)
        for place, ids in zip(places, np.asarray(found), strict=False):
            drawn[place] = ids
    return drawn


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _draw(model: Any, how: Sampler, length: int, samples: int, params: Any, source: Tokens, keys: Any) -> Array:
    step, cache = started(model, params, source, length * samples)
    return sample(step, cache, keys, length, how, samples=samples, bos=BOS, eos=EOS)


def search_of(decoding: DecodingConfig, length: int, scores: bool = False) -> Search:
    """Beam search where there are several beams or scores are asked for; else greedy decoding."""
    if decoding.beams == 1 and not scores:
        return Greedy(length, BOS, EOS)
    how = {"length_penalty": decoding.length_penalty, "early_stopping": decoding.early_stopping}
    return Beam(decoding.beams, length, BOS, EOS, **how)


def in_stages(model: Any, search: Search, params: Any, source: Tokens) -> Any:
    """The result of a search as NumPy arrays.

    A large batch is written in stages, so that what has ended costs nothing more: the cache holds few tokens at first,
    and is doubled where these are not enough; and when three of four sources are done, the others go on alone.
    """
    rows = source.shape[0]
    if rows < LARGE:
        return jax.tree.map(np.asarray, at_once(model, search, params, source))
    until = min(STEPS, search.length)
    now = _begin(model, search, until, params, source)
    places, found = np.arange(rows), None
    while True:
        enough = rows // 4 if rows >= LARGE else 0
        now, done, result = _go_on(model, search, until, enough, params, now)
        found = _put(found, places, result)
        left = np.flatnonzero(~np.asarray(done)[: len(places)])
        if len(left) == 0 or int(now.position) >= search.length:
            return found
        more = 0
        if int(now.position) >= until:
            more = min(until, search.length - until)
            until += more
        rows = rows // 4 if len(left) <= enough else rows
        # Some that are done fill up the rows.
        chosen = np.concatenate([left, np.setdiff1d(np.arange(len(done)), left)])[:rows].astype(np.int32)
        now = _narrow(search, more * search.hypotheses, now, chosen)
        places = places[left]


def _put(found: Any, places: np.ndarray, new: Any) -> Any:
    """What was found, with the first rows of `new` at these places."""
    if found is None:
        return jax.tree.map(np.array, new)
    for old, rows in zip(jax.tree.leaves(found), jax.tree.leaves(new), strict=True):
        old[places] = rows[: len(places)]
    return found


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _begin(model: Any, search: Search, until: int, params: Any, source: Tokens) -> Any:
    return search.start(started(model, params, source, until * search.hypotheses)[1], source.shape[0])


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=5)
def _go_on(model: Any, search: Search, until: int, enough: int, params: Any, now: Any) -> Any:
    now = go_on(search, _step(model, params), now, until, enough)
    return now, search.done(now), search.result(now)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _narrow(search: Search, slots: int, now: Any, sources: Array) -> Any:
    return narrow(search, now, sources, slots)


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


def decode(model: Any, search: Search, params: Any, source: Tokens) -> Any:
    """The result of a search, from its start to its end."""
    step, cache = started(model, params, source, search.length * search.hypotheses)
    return steps.decode(search, step, cache, source.shape[0])


at_once = jax.jit(decode, static_argnums=(0, 1))
"""`decode` in one program."""


def started(model: Any, params: Any, source: Tokens, slots: int) -> tuple[Step, Any]:
    """A model's step, and its cache before the first one."""
    return _step(model, params), model.apply(params, source, slots, method="start")


def _step(model: Any, params: Any) -> Step:
    return lambda cache, tokens: model.apply(params, cache, tokens, method="step")


def longest_target(task: Task) -> int:
    """Slots that hold every target, of training and of evaluation."""

    def longest(examples: Examples) -> int:
        prefix = examples.prefix
        before = 0 if prefix is None else np.add.reduceat(prefix.values, prefix.offsets[:-1])
        return int((examples.lengths[:, 1] - before).max())

    return round_up(max(longest(task.train), longest(task.evaluation)), 8)
