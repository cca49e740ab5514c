"""What devices say to each other in an update: by the compiled program, by count, and by the bytes of two processes.

    python -m benchmarks.scaling [--sizes tiny base big]

Writes `benchmarks/results/scaling.json`, and from it the tables of `docs/scaling.md`. Programs are compiled for 1 to 8
virtual CPU devices; of two processes on this machine the bytes are read from the loopback's counter, before and after
some updates. The projection is arithmetic, no measurement: see its table.
"""

import argparse
import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.pages import fill, table
from flaxmask import hosts
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.transformer import Transformer
from flaxmask.tokens import Batch, Tokens
from flaxmask.training.config import TrainingConfig
from flaxmask.training.flops import count_flops
from flaxmask.training.optimizer import make_optimizer
from flaxmask.training.step import CompiledStep, TrainState, train_step

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "benchmarks" / "results" / "scaling.json"
VOCABULARY, LENGTH, ROWS = 8_000, 64, 8
TIED = {"share_embeddings": True}
SIZES = {
    "tiny": TransformerConfig(d_model=128, d_ffn=256, heads=4, encoder_layers=4, decoder_layers=4, **TIED),
    "base": TransformerConfig(**TIED),
    "big": TransformerConfig(d_model=1024, d_ffn=4096, heads=16, **TIED),
}
DEVICES = (1, 2, 4, 8)
UPDATES = 4
CHIPS = (8, 64, 512)
MACHINES = {
    # name: operations a second in bfloat16, bytes a second that a chip sends to its neighbours.
    "TPU v5e": (197e12, 200e9),
    "H100 over InfiniBand": (989e12, 50e9),
}
"""By their makers: Google's page of TPU v5e (197 TFLOP/s, 1,600 Gbit/s between chips), NVIDIA's sheets of the H100 SXM
(989 TFLOP/s dense) with one 400 Gbit/s adapter a GPU."""
REACHED = 0.4
"""Share of the operations that a chip is taken to reach; less would make the projection look better."""
TOKENS = 8_192
"""Slots a chip and side in the projection."""


def update_of(size: str) -> tuple[functools.partial, Transformer]:
    """The update that `run.py` compiles, of a model of this size."""
    model = Transformer(SIZES[size], MaskConfig(), VOCABULARY, VOCABULARY)
    apply = lambda params, batch, rng: model.apply(params, batch, False, rngs={"dropout": rng}, method="readout")
    optimizer = make_optimizer(TrainingConfig(), 100)
    return functools.partial(train_step, apply=apply, optimizer=optimizer, label_smoothing=0.1), model


def batch_of(rows: int) -> Batch:
    """Packed rows of ids at random, full to the brim."""
    ids = np.random.default_rng(0).integers(4, VOCABULARY, (rows, LENGTH)).astype(np.int32)
    tokens = Tokens.of(ids, layout="packed")
    return Batch(tokens, tokens, ids, np.ones(ids.shape, np.float32))


def state_of(model: Transformer, update: functools.partial, rows: int = ROWS) -> TrainState:
    """Before the first update."""
    params = jax.jit(model.init)(jax.random.key(0), batch_of(rows))
    return TrainState.create(params, update.keywords["optimizer"], 0)


def shapes_of(model: Transformer, update: functools.partial) -> TrainState:
    """Of the arrays in it."""
    return jax.eval_shape(functools.partial(state_of, model, update))


def collectives(program: str) -> dict[str, int]:
    """Bytes of what each kind of collective gives back, on one device, in a compiled program's text."""
    found: dict[str, int] = {}
    for kinds, name in re.findall(r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all)(?:-start)?\(", program):
        sizes = re.findall(r"(f32|s32|u32|pred|bf16)\[([\d,]*)\]", kinds)
        width = {"pred": 1, "bf16": 2}
        count = sum(width.get(kind, 4) * math.prod(int(n) for n in shape.split(",") if n) for kind, shape in sizes)
        found[name] = found.get(name, 0) + count
    return found


def sent(found: dict[str, int], devices: int) -> float:
    """Bytes that a device sends for these: rings, which send no more than any other way."""
    share = (devices - 1) / devices
    times = {"all-reduce": 2 * share, "all-gather": share, "reduce-scatter": devices - 1, "all-to-all": share}
    return sum(times[name] * count for name, count in found.items())


def compiled(size: str) -> list[dict[str, Any]]:
    """An update on 1 to 8 devices, whole parameters and parts of them."""
    rows = []
    update, model = update_of(size)
    state = shapes_of(model, update)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    for devices in DEVICES:
        for shard in (False, True)[: 1 + (devices > 1)]:
            step = CompiledStep(update, devices=jax.devices()[:devices], shard=shard)
            at = lambda x, home: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=home)
            placed = jax.tree.map(at, state, step.homes(state))
            program = step.lower(placed, batch_of(ROWS)).compile()
            found = collectives(program.as_text())
            parts = ((leaf, leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(placed))
            kept = sum(leaf.dtype.itemsize * math.prod(shape) for leaf, shape in parts)
            rows.append(
                {
                    "size": size,
                    "devices": devices,
                    "parameters": parameters,
                    "sharded": shard,
                    "state_bytes_a_device": kept,
                    "collectives": found,
                    "sent_bytes_a_device": round(sent(found, devices)),
                    # Of gradients in float32 by a ring; parts take as much, half of it to gather the parameters.
                    "on_paper": round(2 * (devices - 1) / devices * 4 * parameters),
                }
            )
            print(rows[-1], flush=True)
    return rows


def loopback() -> int:
    """Bytes that this machine has sent to itself."""
    text = Path("/proc/net/dev").read_text(encoding="utf-8")
    return int(text.split("lo:")[1].split()[8])


def worker(place: str, size: str, shard: bool):
    """One of two processes: some updates, and the bytes of each by the loopback's counter."""
    jax.config.update("jax_num_cpu_devices", 1)
    with hosts.met(hosts.parse(place)):
        update, model = update_of(size)
        step = CompiledStep(update, shard=shard)
        state = step.place(state_of(model, update))
        batch, counts = batch_of(ROWS // 2), []
        for _ in range(UPDATES + 1):
            state, metrics = step(state, batch)
            jax.block_until_ready((state, metrics))
            hosts.here().at_first(lambda: counts.append(loopback()))
        if hosts.first():
            print(json.dumps(np.diff(counts).tolist()), file=sys.stderr)


def measured(size: str, shard: bool) -> int:
    """Bytes that one of two processes sends in an update: half of what the loopback counts, the median of several."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    how = [sys.executable, "-m", "benchmarks.scaling", "--sizes", size, *(["--shard"] if shard else [])]
    pair = [
        subprocess.Popen([*how, "--worker", f"localhost:{port},2,{i}"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    said = [process.communicate()[1] for process in pair]
    assert all(process.returncode == 0 for process in pair), said
    return round(float(np.median(json.loads(said[0].strip().split("\n")[-1]))) / 2)


def projected(size: str) -> list[dict[str, Any]]:
    """Efficiency at many chips: what is computed, beside what is sent, as if nothing of it were hidden."""
    update, model = update_of(size)
    rows = TOKENS // LENGTH
    state = shapes_of(model, update)
    flops = count_flops(update, state, batch_of(rows))
    weight = 4 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    found = []
    for name, (rate, link) in MACHINES.items():
        compute = flops / (REACHED * rate)
        send = [2 * (chips - 1) / chips * weight / link for chips in CHIPS]
        found.append(
            {
                "size": size,
                "machine": name,
                "flops_a_chip": flops,
                "compute_milliseconds": 1e3 * compute,
                "send_milliseconds": [1e3 * seconds for seconds in send],
                "hidden_nothing": [compute / (compute + seconds) for seconds in send],
                # Gradients of later layers are sent while those of earlier ones are computed: two thirds of the time.
                "hidden_in_backward": [compute / (compute + max(0.0, s - compute * 2 / 3)) for s in send],
            }
        )
    return found


def mebibytes(count: float) -> str:
    """Bytes in MiB."""
    return f"{count / 2**20:,.1f}"


def tables(figures: dict[str, Any]) -> dict[str, list[str]]:
    """The tables of the page by name, in Markdown."""
    alike = {(row["size"], row["sharded"]): row["bytes"] for row in figures["measured"]}
    sends = []
    for row in figures["compiled"]:
        key = row["size"], row["sharded"]
        two = mebibytes(alike[key]) if row["devices"] == 2 and key in alike else ""
        counts = map(mebibytes, (row["state_bytes_a_device"], row["sent_bytes_a_device"], row["on_paper"]))
        sends.append([row["size"], row["devices"], "in parts" if row["sharded"] else "whole", *counts, two])
    projection = []
    for row in figures["projected"]:
        shares = zip(row["hidden_nothing"], row["hidden_in_backward"], strict=True)
        between = (f"{100 * low:.0f} to {100 * high:.0f} %" for low, high in shares)
        times = f"{row['compute_milliseconds']:.2f}", f"{row['send_milliseconds'][-1]:.2f}"
        projection.append([row["size"], row["machine"], *times, *between])
    return {
        "sent": table(
            [
                "model",
                "devices",
                "state",
                "state a device (MiB)",
                "sent by the program (MiB)",
                "on paper",
                "two processes",
            ],
            sends,
            3,
        ),
        "projected": table(
            ["model", "chips", "computing (ms)", f"sending at {CHIPS[-1]} (ms)", *(f"{n} chips" for n in CHIPS)],
            projection,
            2,
        ),
    }


def main():
    """Compile, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--shard", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.sizes[0], options.shard)
        return
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    pairs = [(size, shard) for size in options.sizes for shard in (False, True)]
    figures = {
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "compiled": [row for size in options.sizes for row in compiled(size)],
        "measured": [{"size": size, "sharded": shard, "bytes": measured(size, shard)} for size, shard in pairs],
        "projected": [row for size in options.sizes for row in projected(size)],
    }
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    fill("scaling.md", tables(figures))


if __name__ == "__main__":
    main()
