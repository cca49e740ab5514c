"""One training step: ours beside what a user would write instead, on the same batches, in one run.

    python benchmarks/training.py [--size tiny base] [--updates 6] [--out benchmarks/results/training.json]

Multi30k, English to German, 8,000 pieces, dropout 0.1, Adam. Each model takes the same batches of ids: of bucketed rows
(sorted by length, as one does), of rows padded to 72, which is common for this corpus, and ours of packed rows too. The
peers: `torch.nn.Transformer` with fused Adam, eager and compiled, and a Flax model of `nn.MultiHeadDotProductAttention`
as Flax's examples are built. Rates are of real tokens, source and target; the shortest of several passes over the same
updates, after one that compiles. Beside them the rate of matrix products alone, measured in the same run, and the
share of it that each step reaches, counting the products that ours takes for the batch.
"""

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.experiment import Config
from flaxmask.models.config import TransformerConfig
from flaxmask.models.layers import sinusoid
from flaxmask.setting import Setting
from flaxmask.tokens import Batch
from flaxmask.training.config import TrainingConfig
from flaxmask.training.flops import count_flops
from flaxmask.training.loop import counted_in
from flaxmask.training.step import CompiledStep

THREADS = 2
LINE = (
    "{size} {layout:10} {model:16} {milliseconds:>8} ms {real_tokens_per_second:>8,} tokens/s, "
    "{of_products_alone:.0%} of products alone, ours {ours_to_it} times as fast"
)
DROPOUT, RATE = 0.1, 1e-3
SIZES = {
    "tiny": TransformerConfig(
        d_model=128, d_ffn=256, heads=4, encoder_layers=4, decoder_layers=4, dropout=DROPOUT, share_embeddings=True
    ),
    "base": TransformerConfig(dropout=DROPOUT, share_embeddings=True),
}
LAYOUTS = {
    "static 72": {"layout": "static", "length": 72},
    "bucketed": {"layout": "bucketed"},
    "packed": {"layout": "packed", "pack_length": 72},
}
EXAMPLES = {"tiny": 144, "base": 48}
"""An update's, on average; some 2,000 and 700 tokens a side."""


def setting_of(size: str, layout: str) -> Setting:
    """Ours."""
    data = DataConfig(name="multi30k/en-de", batch_examples=EXAMPLES[size], **LAYOUTS[layout])
    training = TrainingConfig(
        schedule="constant", learning_rate=RATE, warmup_steps=0, clip_norm=None, label_smoothing=0
    )
    return Setting.of(Config(data, SIZES[size], training=training), 0, 1)


class Ours:
    """The step that `run.py` compiles."""

    def __init__(self, setting: Setting):
        self.step = CompiledStep(setting.update)
        self.state = self.step.place(setting.state())

    def __call__(self, batch: Batch):
        self.state, metrics = self.step(self.state, batch)
        return float(metrics["loss"])


class PlainLayer(nn.Module):
    """A pre-norm layer of Flax's own parts."""

    config: TransformerConfig
    cross: bool

    @nn.compact
    def __call__(self, x, mask, memory=None, memory_mask=None):
        config = self.config
        drop = lambda y: nn.Dropout(config.dropout, deterministic=False)(y)
        attention = lambda: nn.MultiHeadDotProductAttention(config.heads, deterministic=False)
        y = nn.LayerNorm()(x)
        x = x + drop(attention()(y, y, mask=mask))
        if self.cross:
            y = nn.LayerNorm()(x)
            x = x + drop(attention()(y, memory, mask=memory_mask))
        y = nn.Dense(config.d_ffn)(nn.LayerNorm()(x))
        return x + drop(nn.Dense(config.d_model)(nn.relu(y)))


class Plain(nn.Module):
    """An encoder-decoder of these, embeddings and logits tied, as in Flax's example of translation."""

    config: TransformerConfig
    vocabulary: int

    @nn.compact
    def __call__(self, source, target):
        config = self.config
        embed = nn.Embed(self.vocabulary, config.d_model, embedding_init=nn.initializers.normal(1.0))

        def embedded(ids):
            positions = jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
            x = embed(ids) + sinusoid(positions, config.d_model)
            return nn.Dropout(config.dropout, deterministic=False)(x)

        x, y = embedded(source), embedded(target)
        mask = nn.make_attention_mask(source > 0, source > 0)
        for _ in range(config.encoder_layers):
            x = PlainLayer(config, False)(x, mask)
        x = nn.LayerNorm()(x)
        causal = nn.combine_masks(nn.make_attention_mask(target > 0, target > 0), nn.make_causal_mask(target))
        cross = nn.make_attention_mask(target > 0, source > 0)
        for _ in range(config.decoder_layers):
            y = PlainLayer(config, True)(y, causal, x, cross)
        return embed.attend(nn.LayerNorm()(y)) / config.d_model**0.5


class PlainFlax:
    """Compiled once a shape, state donated."""

    def __init__(self, setting: Setting):
        model = Plain(setting.config.model, setting.task.sizes[0])
        optimizer = optax.adam(RATE)
        one = jnp.ones((1, 1), jnp.int32)
        params = jax.jit(model.init)({"params": jax.random.key(0), "dropout": jax.random.key(1)}, one, one)
        self.state = params, optimizer.init(params), jax.random.key(2)

        @functools.partial(jax.jit, donate_argnums=0)
        def step(state, source, target, labels):
            params, moments, rng = state
            rng, now = jax.random.split(rng)

            def mean_loss(params):
                logits = model.apply(params, source, target, rngs={"dropout": now})
                losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
                return jnp.sum(losses * (labels > 0)) / jnp.sum(labels > 0)

            loss, gradients = jax.value_and_grad(mean_loss)(params)
            updates, moments = optimizer.update(gradients, moments)
            return (optax.apply_updates(params, updates), moments, rng), loss

        self.step = step

    def __call__(self, batch: Batch):
        self.state, loss = self.step(self.state, batch.source.ids, batch.target.ids, batch.labels)
        return float(loss)


class TorchModel(torch.nn.Module):
    """`torch.nn.Transformer` between tied embeddings."""

    def __init__(self, config: TransformerConfig, vocabulary: int):
        super().__init__()
        width = config.d_model
        self.embedding = torch.nn.Embedding(vocabulary, width, padding_idx=0)
        layers = config.heads, config.encoder_layers, config.decoder_layers, config.d_ffn, config.dropout
        self.transformer = torch.nn.Transformer(width, *layers, batch_first=True, norm_first=True)
        self.transformer.encoder.enable_nested_tensor = False
        self.drop = torch.nn.Dropout(config.dropout)
        table = np.asarray(sinusoid(np.arange(128, dtype=np.int32)[None], width))[0]
        self.register_buffer("positions", torch.tensor(table))

    def forward(self, source, target, labels):
        """The mean loss of a label."""
        embedded = lambda ids: self.drop(self.embedding(ids) + self.positions[: ids.shape[1]])
        causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        hidden = source == 0
        x = self.transformer(
            embedded(source),
            embedded(target),
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
            tgt_key_padding_mask=target == 0,
        )
        logits = x @ self.embedding.weight.T / self.embedding.embedding_dim**0.5
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=0)


class Torch:
    """Fused Adam; eager, or the model compiled."""

    def __init__(self, setting: Setting, compiled: bool):
        torch.manual_seed(0)
        self.model = TorchModel(setting.config.model, setting.task.sizes[0])
        self.optimizer = torch.optim.Adam(self.model.parameters(), RATE, fused=True)
        self.loss = torch.compile(self.model) if compiled else self.model

    def __call__(self, batch: Batch):
        ids = (torch.from_numpy(np.asarray(x)).long() for x in (batch.source.ids, batch.target.ids, batch.labels))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*ids)
        loss.backward()
        self.optimizer.step()
        return loss.item()


PEERS: dict[str, Callable[[Setting], Callable[[Batch], float]]] = {
    "torch, eager": functools.partial(Torch, compiled=False),
    "torch, compiled": functools.partial(Torch, compiled=True),
    "plain Flax": PlainFlax,
}


def seconds_of(step: Callable[[Batch], float], batches: Sequence[Batch], passes: int) -> float:
    """The shortest pass over the batches, after one that compiles."""
    found = []
    for _ in range(passes + 1):
        start = time.perf_counter()
        losses = [step(batch) for batch in batches]
        found.append(time.perf_counter() - start)
        assert np.isfinite(losses).all()
    return min(found[1:])


def product_rate(width: int, inside: int = 2048) -> float:
    """Operations a second of a chain of products `(x @ w) @ v`, the largest of several runs."""
    x, w, v = (jnp.ones(shape) for shape in ((2048, width), (width, inside), (inside, width)))
    turns = 20

    @jax.jit
    def chain(x):
        return jax.lax.fori_loop(0, turns, lambda _, y: (y @ w) @ v * 1e-6, x)

    chain(x).block_until_ready()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        chain(x).block_until_ready()
        times.append(time.perf_counter() - start)
    return turns * 4 * 2048 * width * inside / min(times)


def measured(size: str, layout: str, updates: int, passes: int) -> list[dict[str, Any]]:
    """Ours in a layout, and the peers where rows hold one example each."""
    setting = setting_of(size, layout)
    first = [setting.plan[i] for i in range(updates)]
    batches = [build_batch(setting.task.train, placement) for placement in first]
    tokens = sum(counted_in(batch)[0] for batch in batches)
    state = setting.state()
    products = sum(count_flops(setting.update, state, batch) for batch in batches)
    peers = PEERS if layout != "packed" else {}
    rows, limit = [], product_rate(setting.config.model.d_model)
    for name, make in {"flaxmask": Ours, **peers}.items():
        seconds = seconds_of(make(setting), batches, passes)
        rows.append(
            {
                "size": size,
                "layout": layout,
                "model": name,
                "milliseconds": round(1e3 * seconds / updates, 1),
                "real_tokens_per_second": round(tokens / seconds),
                "of_products_alone": round(products / seconds / limit, 3),
                "ours_to_it": round(seconds / (rows[0]["milliseconds"] * 1e-3 * updates), 2) if rows else 1.0,
            }
        )
        print(LINE.format(**rows[-1]), flush=True)
    return rows


def main():
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--layout", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    how = options.updates, options.passes
    rows = [row for size in options.size for layout in options.layout for row in measured(size, layout, *how)]
    versions = {name: importlib.metadata.version(name) for name in ("jax", "flax", "torch")}
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "versions": versions}
    if options.out:
        if options.out.exists():  # what is not measured now stays
            key = lambda row: (row["size"], row["layout"])
            kept = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
            rows = [row for row in kept if key(row) not in set(map(key, rows))] + rows
        options.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
