"""What a mask costs: one attention, forward and backward, over rows as long as those of a corpus."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask import Batch, Tokens, masks
from flaxmask.attention import dot_product_attention, explain
from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import make_layout
from flaxmask.data.ragged import Ragged
from flaxmask.data.sources.length_histograms import length_histograms
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.transformer import Transformer
from flaxmask.probe import Probed

EXAMPLES, ROWS, HEADS, SIZE = 64, 16, 4, 32
"""Of the corpus, and of a batch; heads and their size."""
TIMES, WARM = 5, 2
"""Calls that are timed, of which the fastest counts, and calls before."""
WAYS = {
    "no mask": (masks.full, "xla"),
    "dense mask": (masks.segment, "xla"),
    "skipped blocks": (masks.segment, "blockwise"),
}
MODEL = TransformerConfig(d_model=128, d_ffn=256, heads=HEADS, encoder_layers=2, decoder_layers=2)


def measure(layout: str, way: str) -> Probed:
    """Arithmetic, time and memory of all batches of a layout, and the parameters of a model with that mask."""
    mask, implementation = WAYS[way]
    flops, seconds, memory = 0.0, 0.0, 0
    for tokens in batches(layout):
        shape = (*tokens.shape, HEADS, SIZE)
        query, key, value = (np.random.default_rng(i).normal(size=shape).astype(np.float32) for i in range(3))
        how = {"implementation": implementation}
        report = explain(query, key, value, mask, tokens, tokens, **how)
        flops += sum(report.flops)
        loss = lambda q, k, v, t, how=how: jnp.sum(dot_product_attention(q, k, v, mask, t, t, **how) ** 2)
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(query, key, value, tokens).compile()
        analysis: Any = compiled.memory_analysis()
        memory = max(memory, analysis.temp_size_in_bytes + analysis.output_size_in_bytes)
        seconds += fastest(functools.partial(compiled, query, key, value, tokens))
    metrics = {
        "attention_flops": flops,
        "attention_milliseconds": 1e3 * seconds,
        "peak_memory_bytes": memory,
        "parameters": parameters(MaskConfig(**dict.fromkeys(("encoder", "decoder", "cross"), str(mask)))),
    }
    return Probed(metrics)


def batches(layout: str) -> Iterator[Tokens]:
    """Examples at even quantiles of the lengths of Wikipedia's sequences (Krell et al. 2021), laid out."""
    counts = length_histograms()["wikipedia_512"]
    quantiles = (np.arange(EXAMPLES) + 0.5) / EXAMPLES
    lengths = np.searchsorted(np.cumsum(counts) / counts.sum(), quantiles) + 1
    order = np.random.default_rng(0).permutation(lengths)
    rows = Ragged.of([np.ones(length, np.int32) for length in order])
    data = Examples(rows, None, rows)
    config = DataConfig(layout=layout, batch_examples=ROWS, length=len(counts), pack_length=len(counts), shapes=4)  # pyright: ignore[reportArgumentType]
    for placement in make_layout(config, data.lengths).place(np.arange(len(data)), data.lengths):
        source = build_batch(data, placement).source
        assert source is not None
        yield source


def fastest(call: Any) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(WARM + TIMES):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times[WARM:])


def parameters(mask: MaskConfig) -> int:
    """Of a Transformer with these masks: numbers to be learnt."""
    token = Tokens.of(np.ones((1, 1), np.int32))
    model = Transformer(MODEL, mask, 1000, 1000)
    made = jax.eval_shape(model.init, jax.random.PRNGKey(0), Batch(token, token))
    return sum(leaf.size for leaf in jax.tree.leaves(made))
