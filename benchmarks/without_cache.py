"""Decoding with a cache against computing everything anew at every step: the same answers, to the token?

    python benchmarks/without_cache.py RUN/checkpoints/ROW-SEED [--out benchmarks/results/without_cache.json]

Every way of decoding, on the sentences that an encoder-decoder is judged on, whose batches are laid out in several
ways. One side decodes as users do, with caches that grow. The other has a cache that keeps ids alone: each step reads
sources and targets from their beginnings, as in training. Where answers part, `gap` says how close the decision was:
the difference of the logits of the two tokens for one hypothesis, that of the scores of both answers for beams.
"""

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask.answers import in_stages, longest_target, search_of, source_batches, sources_of, started
from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import make_layout
from flaxmask.data.ragged import Ragged
from flaxmask.data.vocabulary import BOS, EOS, PAD
from flaxmask.decoding.beam import Found
from flaxmask.decoding.config import DecodingConfig
from flaxmask.decoding.sampling import Sampler, sample
from flaxmask.tokens import Array, Batch, Tokens
from flaxmask.translate import Translator

WAYS: dict[str, DecodingConfig | Sampler] = {
    "greedy": DecodingConfig(),
    "beam 5": DecodingConfig(beams=5),
    "beam 4, sums, to the end": DecodingConfig(beams=4, length_penalty=0.0, early_stopping=False),
    "temperature 0.7": Sampler(temperature=0.7),
    "top-k 10": Sampler(top_k=10),
    "top-p 0.9": Sampler(top_p=0.9),
    "min-p 0.1": Sampler(min_p=0.1),
    "repetition penalty 1.2, temperature 0": Sampler(repetition_penalty=1.2, temperature=0.0),
}
LAYOUTS = {
    "bucketed": None,
    "static, padded on the right": DataConfig(layout="static", batch_examples=200),
    "static, padded on the left": DataConfig(layout="static", batch_examples=200, padding_side="left"),
}
CLOSE = 1e-4
"""Logits closer than this may be ordered either way by other orders of the same sums."""


class Nothing(NamedTuple):
    """A cache that keeps what was read, and nothing that was computed. See `decoding.steps.Cache`.

    Attributes:
      source: of each source, `[B, S]`.
      read: ids of each hypothesis, `[B, K, L]`.
      count: how many of them there are.
    """

    source: Tokens
    read: Array
    count: Array

    def fork(self, hypotheses: int) -> "Nothing":
        """The slots were for all hypotheses together."""
        batch, _, slots = self.read.shape
        return self._replace(read=jnp.full((batch, hypotheses, slots // hypotheses), PAD, jnp.int32))

    def take(self, parents: Array) -> "Nothing":
        """Their ids."""
        return self._replace(read=jnp.take_along_axis(self.read, parents[..., None], axis=1))

    def keep(self, sources: Array, hypotheses: int) -> "Nothing":
        """Their rows."""
        return Nothing(jax.tree.map(lambda x: jnp.asarray(x)[sources], self.source), self.read[sources], self.count)

    def grow(self, slots: int) -> "Nothing":
        """Padding behind the ids."""
        return self._replace(read=jnp.pad(self.read, ((0, 0), (0, 0), (0, slots // self.read.shape[1]))))


@dataclasses.dataclass(frozen=True)
class WithoutCache:
    """A model whose every step is a pass over whole sequences."""

    model: Any

    def apply(self, params: Any, *inputs: Any, method: str) -> Any:
        """As a Linen module's, of the methods that decoding calls."""
        return getattr(self, method)(params, *inputs)

    def start(self, params: Any, source: Tokens, slots: int) -> Nothing:
        """No token read yet."""
        empty = jnp.full((source.shape[0], 1, slots), PAD, jnp.int32)
        return Nothing(source, empty, jnp.zeros((), jnp.int32))

    def step(self, params: Any, cache: Nothing, tokens: Tokens) -> tuple[Array, Nothing]:
        """Logits `[B, K, V]` after one more token."""
        batch, hypotheses, _ = cache.read.shape
        read = jax.lax.dynamic_update_slice_in_dim(cache.read, tokens.ids[..., None], cache.count, axis=2)
        logits = whole(self.model, params, cache.source, read)
        at = jax.lax.dynamic_index_in_dim(logits, cache.count, axis=1, keepdims=False)
        return at.reshape(batch, hypotheses, -1), cache._replace(read=read, count=cache.count + 1)


def whole(model: Any, params: Any, source: Tokens, read: Array) -> Array:
    """Logits `[B * K, L, V]` after every id of `read` `[B, K, L]`."""
    sources = jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x), read.shape[1], axis=0), source)
    ids = read.reshape(-1, read.shape[-1])
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1], dtype=jnp.int32)[None], ids.shape)
    # Slots behind those that were read are seen by none of them.
    return model.apply(params, Batch(sources, Tokens(ids, jnp.ones_like(ids), positions, None, "rows")))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def drawn(model: Any, sampler: Sampler, length: int, params: Any, source: Tokens, numbers: Array) -> Array:
    """A sample for each source, whose draws are its number's."""
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0), number))(numbers)
    return sample(*started(model, params, source, length), keys, length, sampler, bos=BOS, eos=EOS)


def batches(sources: Sequence[np.ndarray], layout: DataConfig | None) -> Iterator[tuple[list[int], Tokens]]:
    """Sources as decoding sorts them, or in a layout: which they are, and their rows; empty ones may follow."""
    if layout is None:
        yield from source_batches(sources)
        return
    lengths = np.array([[len(ids), 0] for ids in sources])
    data = Examples(Ragged.of(sources), None, Ragged.of(sources))
    for placement in make_layout(layout, lengths).place(np.arange(len(sources)), lengths):
        yield placement.pieces.examples.tolist(), build_batch(data, placement).source


def answers(
    model: Any, params: Any, way: DecodingConfig | Sampler, layout: DataConfig | None, sources: list, length: int
) -> np.ndarray:
    """The ids of each source's best answer, `[N, L]`."""
    written = np.zeros((len(sources), length), np.int32)
    for places, source in batches(sources, layout):
        if isinstance(way, Sampler):
            numbers = np.zeros(source.shape[0], np.uint32)
            numbers[: len(places)] = places
            found = np.asarray(drawn(model, way, length, params, source, numbers))[:, 0]
        else:
            found = in_stages(model, search_of(way, length), params, source)
            found = found.ids[:, 0] if isinstance(found, Found) else found
        written[places] = found[: len(places)]
    return written


def gap(translator: Translator, source: np.ndarray, pair: np.ndarray, way: DecodingConfig | Sampler) -> float:
    """How close the decision between two answers `[2, L]` was."""
    shifted = np.concatenate([np.full((2, 1), BOS, np.int32), pair[:, :-1]], axis=1)
    logits = whole(translator.model, translator.params, Tokens.of(source[None].astype(np.int32)), shifted[None])
    of = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), pair[..., None], axis=-1)[..., 0]
    if isinstance(way, DecodingConfig) and way.beams > 1:
        totals = np.where(pair != PAD, of, 0.0).sum(axis=1) / (pair != PAD).sum(axis=1) ** way.length_penalty
        return float(abs(totals[0] - totals[1]))
    at = int(np.argmax(pair[0] != pair[1]))
    return float(abs(of[0, at] - of[1, at]))


def compare(translator: Translator, sources: list, name: str, layout: str) -> dict[str, Any]:
    """One way in one layout."""
    start = time.perf_counter()
    length, way = longest_target(translator.task), WAYS[name]
    models = translator.model, WithoutCache(translator.model)
    cached, anew = (answers(model, translator.params, way, LAYOUTS[layout], sources, length) for model in models)
    differ = np.flatnonzero((cached != anew).any(axis=1))
    gaps = [gap(translator, sources[i], np.stack([cached[i], anew[i]]), way) for i in differ]
    return {
        "decoding": name,
        "sources": layout,
        "answers": len(sources),
        "tokens": int((cached != PAD).sum()),
        "differ": len(differ),
        "differ_closer_than_1e-4": sum(one < CLOSE for one in gaps),
        "largest_gap": round(max(gaps, default=0.0), 7),
        "different_answers": len(np.unique(cached, axis=0)),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main():
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sentences", type=int, default=1000)
    options = parser.parse_args()
    translator = Translator.load(options.checkpoint)
    sources = sources_of(translator.task)[: options.sentences]
    rows = []
    # Every way in the layout that decoding makes; greedy decoding in all.
    for name, layout in [(name, "bucketed") for name in WAYS] + [("greedy", layout) for layout in LAYOUTS][1:]:
        row = compare(translator, sources, name, layout)
        rows.append(row)
        print("{decoding:38} {sources:28} {differ} of {answers} differ; {seconds} s".format(**row), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"jax": jax.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
