"""What an update costs as it grows: shapes to be compiled, memory, time, and how long the data is waited for.

    python -m benchmarks.growth [compiling memory time waiting]

Writes `benchmarks/results/growth.json`, the tables of `docs/speed.md` and its figure. Exponents are slopes of a line
through the logarithms: 1 is linear. Where it measures time it wants the machine for itself.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from benchmarks.pages import DOCS, fill, table
from flaxmask import masks
from flaxmask.attention import dot_product_attention
from flaxmask.commands import start_jax
from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.loader import batches
from flaxmask.experiment import Config
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.transformer import Transformer
from flaxmask.setting import Setting
from flaxmask.tokens import Batch, Tokens
from flaxmask.training.config import TrainingConfig
from flaxmask.training.loop import counted_in
from flaxmask.training.optimizer import make_optimizer
from flaxmask.training.step import CompiledStep, TrainState, train_step

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIGURES, PICTURE = RESULTS / "growth.json", DOCS / "images" / "growth.png"
LAYOUTS = ("static", "dynamic", "bucketed", "packed")
SHAPES = (1, 2, 4, 8, 16, 1_000)
MANY = SHAPES[-1]
"""As good as no bound: each batch keeps its own shape."""
TINY = TransformerConfig(
    d_model=128, d_ffn=256, heads=4, encoder_layers=4, decoder_layers=4, dropout=0.1, share_embeddings=True
)
SMALL = dataclasses.replace(TINY, d_model=64, d_ffn=128, heads=2, encoder_layers=1, decoder_layers=1)
ATTENTION_LENGTHS = (512, 1024, 2048, 4096, 8192, 16_384)
HEADS, SIZE = 4, 64
PICKED = {"reference": 4096}
"""The longest row for which an implementation is compiled, where that is not all."""
GROWN: dict[str, tuple[int, ...]] = {
    "slots a row": (64, 128, 256, 512, 1024),
    "rows": (8, 16, 32, 64, 128),
    "layers": (1, 2, 4, 8),
    "virtual devices": (1, 2, 4, 8),
}
VOCABULARY = 1_000


def setting_of(layout: str, model: TransformerConfig, **data: Any) -> Setting:
    """Multi30k, English to German."""
    config = DataConfig(name="multi30k/en-de", layout=layout, length=72 if layout == "static" else None, **data)
    return Setting.of(Config(config, model, training=TrainingConfig()), 0, 1)


def exponent(sizes: Iterable[float], costs: Iterable[float]) -> float:
    """The slope of cost against size in logarithms.

    >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(list(sizes)), np.log(list(costs)), 1)[0])


def fastest(call: Callable[[], object], least: float = 2.0) -> float:
    """Seconds of the fastest call of some seconds' calls, of five at least, after one that is not counted."""
    jax.block_until_ready(call())
    found: list[float] = []
    while len(found) < 5 or sum(found) < least:
        start = time.perf_counter()
        jax.block_until_ready(call())
        found.append(time.perf_counter() - start)
    return min(found)


def said_by(*arguments: str, **environment: str) -> str:
    """What this command prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", *arguments]
    where: dict[str, Any] = {"cwd": ROOT, "env": os.environ | environment}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **where).stdout


# Compiling.


def planned() -> list[dict[str, Any]]:
    """Share of the slots that hold tokens, by layout and by the most shapes that it may take."""
    found = []
    for layout in LAYOUTS:
        for most in SHAPES:
            report = setting_of(layout, TINY, shapes=most).plan.report()
            found.append(
                {"layout": layout, "most": most, "shapes": len(report.shapes), "real": report.real_token_fraction}
            )
    return found


def throughput(layout: str, most: int, updates: int = 60) -> float:
    """Real tokens a second of a small model over the same updates, each shape compiled before."""
    setting = setting_of(layout, SMALL, shapes=most)
    step = CompiledStep(setting.update)
    state = step.place(setting.state())
    held = [build_batch(setting.task.train, setting.plan[i]) for i in range(updates)]
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        for batch in held:
            state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))
        best = min(best, time.perf_counter() - start)
    return sum(counted_in(batch)[0] for batch in held) / best


def first_step(layout: str):
    """Of a process that begins here: seconds to its first update, and of all shapes compiled."""
    start_jax()
    setting = setting_of(layout, TINY)
    step = CompiledStep(setting.update)
    state = step.place(setting.state())
    state, metrics = step(state, build_batch(setting.task.train, setting.plan[0]))
    jax.block_until_ready(metrics)
    print("FIRST", time.time(), flush=True)
    first: dict[Any, int] = {}
    for index in range(len(setting.plan)):
        first.setdefault(setting.plan[index].shape, index)
    for index in first.values():
        state, metrics = step(state, build_batch(setting.task.train, setting.plan[index]))
    found = {"shapes": step.compile_count, "compile": step.compile_seconds, "cached": step.compile_cached}
    print("ALL", json.dumps(found))


def started(layout: str, cache: str) -> dict[str, Any]:
    """What a new process says, see `first_step`."""
    begun = time.time()
    said = said_by("--first-step", layout, JAX_COMPILATION_CACHE_DIR=cache)
    [first], [everything] = re.findall(r"^FIRST (.*)$", said, re.M), re.findall(r"^ALL (.*)$", said, re.M)
    return json.loads(everything) | {"first": float(first) - begun}


def compiling() -> dict[str, Any]:
    """Shapes, what a bound on them costs, and starting cold and warm."""
    lost = {}
    for layout in ("bucketed", "packed"):
        bound, free = throughput(layout, 8), throughput(layout, MANY)
        lost[layout] = {"tokens_per_second": bound, "without_a_bound": free, "lost": 1 - bound / free}
    starts = {}
    with tempfile.TemporaryDirectory() as room:
        for layout in LAYOUTS:
            starts[layout] = {how: started(layout, f"{room}/{layout}") for how in ("cold", "warm")}
    return {"planned": planned(), "lost": lost, "starts": starts}


# Memory.


def arrays_in(program: str) -> dict[str, int]:
    """Bytes of the largest array of truths, and of the largest of numbers, that a compiled program keeps."""
    largest = {"truths": 0, "numbers": 0}
    kept = "\n".join(line for line in re.sub(r"(?ms)^%fused.*?^}", "", program).splitlines())
    for kind, shape in re.findall(r"= (pred|f32|bf16|s32|u32|u8)\[([\d,]*)\]", kept):
        count = math.prod(int(n) for n in shape.split(",") if n) * {"pred": 1, "u8": 1, "bf16": 2}.get(kind, 4)
        key = "truths" if kind == "pred" else "numbers"
        largest[key] = max(largest[key], count)
    return largest


def attention_memory(implementation: str, length: int) -> dict[str, int]:
    """Bytes of attention's forward and backward pass beyond inputs and outputs; one row, causal."""
    mask = masks.parse("causal & segment")
    held = Tokens.of(np.ones((1, length), np.int32))
    inputs = [jax.ShapeDtypeStruct((1, length, HEADS, SIZE), jnp.float32)] * 3

    def loss(query, key, value, held):
        return jnp.sum(dot_product_attention(query, key, value, mask, held, held, implementation=implementation) ** 2)

    program = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*inputs, held).compile()
    analysis = program.memory_analysis()
    return arrays_in(program.as_text()) | {"bytes": int(analysis.temp_size_in_bytes)}


def memory() -> dict[str, Any]:
    """Of an update by layout and implementation, and of attention by the length of a row."""
    updates = []
    for layout in LAYOUTS:
        for implementation in ("xla", "blockwise", "reference"):
            setting = setting_of(layout, dataclasses.replace(TINY, attention=implementation))
            index = max(range(20), key=lambda i: setting.plan.counted(i)[1])  # the largest batch of some
            step = CompiledStep(setting.update)
            step(step.place(setting.state()), batch := build_batch(setting.task.train, setting.plan[index]))
            shape = [*batch.source.ids.shape, *(batch.target.ids.shape if batch.target else ())]
            found = {"layout": layout, "implementation": implementation, "shape": shape}
            updates.append(found | {"bytes": step.peak_memory_bytes})
            print(updates[-1], flush=True)
    lengths: dict[str, Any] = {}
    for implementation in ("blockwise", "xla", "reference"):
        grown = [n for n in ATTENTION_LENGTHS if n <= PICKED.get(implementation, n)]
        found = {length: attention_memory(implementation, length) for length in grown}
        slope = exponent(grown[1:], [found[n]["bytes"] for n in grown[1:]])
        lengths[implementation] = {"lengths": {str(n): found[n] for n in grown}, "exponent": slope}
        print(implementation, lengths[implementation], flush=True)
    return {"updates": updates, "lengths": lengths}


# Time.


def full_batch(rows: int, slots: int) -> Batch:
    """Rows of one example each, full to the brim."""
    ids = np.random.default_rng(0).integers(4, VOCABULARY, (rows, slots)).astype(np.int32)
    tokens = Tokens.of(ids, layout="rows")
    return Batch(tokens, tokens, ids, np.ones(ids.shape, np.float32))


def update_seconds(rows: int = 32, slots: int = 64, layers: int = 1, devices: int = 1, attention: str = "xla") -> float:
    """Of an update of a small model."""
    config = dataclasses.replace(SMALL, encoder_layers=layers, decoder_layers=layers, attention=attention)
    model = Transformer(config, MaskConfig(), VOCABULARY, VOCABULARY)
    batch = full_batch(rows, slots)
    apply = lambda params, batch, rng: model.apply(params, batch, False, rngs={"dropout": rng}, method="readout")
    optimizer = make_optimizer(TrainingConfig(), 100)
    update = functools.partial(train_step, apply=apply, optimizer=optimizer, label_smoothing=0.1)
    step = CompiledStep(update, devices=jax.devices()[:devices])
    state = step.place(TrainState.create(jax.jit(model.init)(jax.random.key(0), batch), optimizer, 0))

    def once():
        nonlocal state
        state, metrics = step(state, batch)
        return state, metrics

    return fastest(once)


def over_devices(count: int) -> float:
    """`update_seconds` of a process that has so many virtual devices."""
    return float(said_by("--over-devices", JAX_NUM_CPU_DEVICES=str(count)).split()[-1])


def grown() -> dict[str, Any]:
    """Seconds of an update as one thing grows, the others as they are."""
    ways: dict[str, Callable[[int], float]] = {
        "slots a row": lambda n: update_seconds(rows=8, slots=n),
        "rows": lambda n: update_seconds(rows=n),
        "layers": lambda n: update_seconds(layers=n),
        "virtual devices": over_devices,
    }
    found = {}
    for name, way in ways.items():
        seconds = {n: way(n) for n in GROWN[name]}
        # What an update costs beside its rows bends the line at its beginning: the slope is of the larger half.
        large = GROWN[name][-3:]
        slope = exponent(large, [seconds[n] for n in large])
        found[name] = {"seconds": {str(n): s for n, s in seconds.items()}, "exponent": slope}
        print(name, found[name], flush=True)
    return found


def waiting() -> dict[str, Any]:
    """Share of the time of an epoch's beginning that an update waits for its batch."""
    found = {}
    for name, model in (("tiny", TINY), ("one layer of 64", SMALL)):
        for layout in LAYOUTS:
            setting = setting_of(layout, model)
            step = CompiledStep(setting.update)
            state = step.place(setting.state())
            iterator = batches(setting.task.train, setting.plan)
            waited = total = 0.0
            for _ in range(8 if model is TINY else 60):
                start = time.perf_counter()
                batch = next(iterator)
                got = time.perf_counter()
                before = step.compile_seconds
                state, metrics = step(state, batch)
                jax.device_get(metrics)
                waited += got - start
                total += time.perf_counter() - start - (step.compile_seconds - before)
            found[f"{name}, {layout}"] = {"share": waited / total, "milliseconds": 1e3 * total}
            print(name, layout, found[f"{name}, {layout}"], flush=True)
    return found


# The page.


def mebibytes(count: float) -> str:
    """Bytes in MiB."""
    return f"{count / 2**20:,.1f}" if count < 100 * 2**20 else f"{count / 2**20:,.0f}"


def of_training(rows: list[dict[str, Any]]) -> list[str]:
    """What `benchmarks/training.py` kept."""
    header = ["model", "layout", "whose", "real tokens/s", "of the products alone", "ours to it"]
    names = "size", "layout", "model"
    cells = [
        [
            *(row[name] for name in names),
            f"{row['real_tokens_per_second']:,}",
            f"{100 * row['of_products_alone']:.0f} %",
            f"{row['ours_to_it']:.2f}",
        ]
        for row in rows
    ]
    return table(header, cells, len(names))


def tables(figures: dict[str, Any]) -> dict[str, list[str]]:
    """Those of the page, of what is measured."""
    found = {"training": of_training(json.loads((RESULTS / "training.json").read_text(encoding="utf-8"))["rows"])}
    if "compiling" in figures:
        of = figures["compiling"]
        rows = [
            [
                layout,
                *(f"{row['shapes']}: {100 * row['real']:.1f} %" for row in of["planned"] if row["layout"] == layout),
            ]
            for layout in LAYOUTS
        ]
        found["shapes"] = table(["layout", *(f"at most {n}" for n in SHAPES[:-1]), "no bound"], rows)
        rows = [
            [layout, f"{of['tokens_per_second']:,.0f}", f"{of['without_a_bound']:,.0f}", f"{100 * of['lost']:.1f} %"]
            for layout, of in of["lost"].items()
        ]
        found["lost"] = table(["layout", "at most 8 shapes, tokens/s", "no bound, tokens/s", "lost"], rows)
        rows = [
            [
                layout,
                cold["shapes"],
                *(f"{x:.1f}" for x in (cold["first"], cold["compile"], warm["first"], warm["compile"])),
            ]
            for layout, (cold, warm) in ((layout, (s["cold"], s["warm"])) for layout, s in of["starts"].items())
        ]
        header = ["first update after (s)", "all shapes compiled in (s)"]
        found["starts"] = table(["layout", "shapes", *header, *(f"again: {text}" for text in header)], rows)
    if "memory" in figures:
        of, by = figures["memory"], {}
        for row in of["updates"]:
            by.setdefault((row["layout"], " × ".join(map(str, row["shape"]))), {})[row["implementation"]] = row["bytes"]
        rows = [[layout, shape, *map(mebibytes, kinds.values())] for (layout, shape), kinds in by.items()]
        found["updates"] = table(["layout", "batch", "xla", "blockwise", "reference"], rows, 2)
        rows = [
            [name, *(mebibytes(row["bytes"]) for row in one["lengths"].values())]
            + ["" for _ in range(len(ATTENTION_LENGTHS) - len(one["lengths"]))]
            + [f"{one['exponent']:.2f}", " / ".join(mebibytes(last[k]) for k in ("truths", "numbers"))]
            for name, one in of["lengths"].items()
            for last in [list(one["lengths"].values())[-1]]
        ]
        header = [*(f"{n:,}" for n in ATTENTION_LENGTHS), "exponent", "largest mask / array"]
        found["lengths"] = table(["implementation", *header], rows)
    if "time" in figures:
        rows = [
            [name, ", ".join(f"{n}: {1e3 * s:,.0f}" for n, s in of["seconds"].items()), f"{of['exponent']:.2f}"]
            for name, of in figures["time"].items()
        ]
        found["time"] = table(["what grows", "size: milliseconds", "exponent"], rows, 2)
    if "waiting" in figures:
        rows = [[name, f"{100 * of['share']:.2f} %"] for name, of in figures["waiting"].items()]
        found["waiting"] = table(["model and layout", "waiting for data"], rows)
    return found


def draw(figures: dict[str, Any]):
    """Time and memory against what grows, both axes in logarithms."""
    figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), layout="constrained")
    *first, last, left = axes.flat
    left.set_axis_off()
    for ax, (name, of) in zip(first, figures["time"].items(), strict=True):
        sizes, milliseconds = [int(n) for n in of["seconds"]], [1e3 * s for s in of["seconds"].values()]
        ax.loglog(sizes, milliseconds, "o-", base=2)
        # Room for a line of slope 1, so that a flat one looks flat.
        ax.set_ylim(min(milliseconds) / 1.5, max(max(milliseconds), min(milliseconds) * max(sizes) / min(sizes)) * 1.5)
        ax.set(title=f"exponent {of['exponent']:.2f}", xlabel=name, ylabel="milliseconds an update")
        ax.set_xticks(sizes, [str(n) for n in sizes])
    for name, of in figures["memory"]["lengths"].items():
        sizes, found = [int(n) for n in of["lengths"]], [row["bytes"] / 2**20 for row in of["lengths"].values()]
        last.loglog(sizes, found, "o-", base=2, label=f"{name}, exponent {of['exponent']:.2f}")
    last.set(title="attention alone", xlabel="slots a row", ylabel="MiB beyond inputs and outputs")
    last.set_xticks(list(ATTENTION_LENGTHS), [str(n) for n in ATTENTION_LENGTHS], rotation=45)
    left.legend(*last.get_legend_handles_labels(), loc="center left", title="attention alone")
    for ax in (*first, last):
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    figure.savefig(PICTURE, dpi=120, metadata={"Software": None})


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "compiling": compiling,
    "memory": memory,
    "time": grown,
    "waiting": waiting,
}


def main():
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], help="all, unless named")
    parser.add_argument("--first-step", choices=LAYOUTS, help=argparse.SUPPRESS)
    parser.add_argument("--over-devices", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_step:
        first_step(options.first_step)
        return
    if options.over_devices:
        print(update_seconds(devices=len(jax.devices())))
        return
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    figures["versions"] = {name: importlib.metadata.version(name) for name in ("jax", "flax")}
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    for name in options.parts or PARTS:
        figures[name] = PARTS[name]()
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    fill("speed.md", tables(figures))
    if {"time", "memory"} <= set(figures):
        draw(figures)


if __name__ == "__main__":
    main()
