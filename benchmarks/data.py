"""Packing and batches: ours beside what a user would pick instead, in one run.

    python benchmarks/data.py [--out benchmarks/results/data.json]

Offline packing of 1,000,000 lengths, and the batches of Multi30k English to German (BPE of 8,000) as NumPy arrays, an
epoch's plan included. The peers: best-fit decreasing in plain Python with a sorted list of rooms, Grain's own
packing of the same examples, and a loop that pads each batch to its longest with NumPy. Best of three; ratios hold
between machines, seconds do not.
"""

import argparse
import bisect
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np

from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import make_layout, pack
from flaxmask.data.loader import Plan, batches
from flaxmask.data.tasks import load_task

CAPACITY = 512


def best_of(call: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """The shortest of several calls, and what the last one gave."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        found.append(time.perf_counter() - start)
    return min(found), result


def plain_best_fit(lengths: np.ndarray) -> int:
    """Rows of best-fit decreasing, the way that one writes it by hand; which example goes where is kept."""
    rooms: list[tuple[int, int]] = []
    rows: list[list[int]] = []
    for example in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[example])
        at = bisect.bisect_left(rooms, (length, -1))
        room, row = rooms.pop(at) if at < len(rooms) else (CAPACITY, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(example)
        if room > length:
            bisect.insort(rooms, (room - length, row))
    return len(rows)


def packing() -> list[dict[str, Any]]:
    """A million lengths in one pool."""
    lengths = np.minimum(1 + np.random.default_rng(0).geometric(1 / 40, 1_000_000), CAPACITY)
    sides = np.stack([lengths, np.zeros_like(lengths)], axis=1)
    ids = np.random.default_rng(1).permutation(len(lengths))
    lines = []
    for packer in ("lpfhp", "spfhp", "concatenate", "online_best_fit"):
        seconds, [pieces] = best_of(lambda packer=packer: pack([ids], sides, (CAPACITY, 0), packer))
        lines.append({"packer": packer, "seconds": seconds, "rows": pieces.count})
    seconds, rows = best_of(lambda: plain_best_fit(lengths), 1)
    lines.append({"packer": "peer: best-fit decreasing in plain Python", "seconds": seconds, "rows": rows})
    for line in lines:
        line["real_token_fraction"] = float(lengths.sum() / (line["rows"] * CAPACITY))
        line["lpfhp_is_times_as_fast"] = line["seconds"] / lines[0]["seconds"]
    return lines


def batches_of(examples: Examples, config: DataConfig) -> dict[str, float]:
    """One epoch, planned and built, beside the main thread as in training."""

    def epoch():
        plan = Plan(make_layout(config, examples.lengths), examples.lengths, 0, 1)
        return [batch.source.shape for batch in batches(examples, plan)]

    seconds, shapes = best_of(epoch)
    return _rates(seconds, len(shapes), len(examples), sum(rows for rows, _ in shapes))


def grain_packing(examples: Examples, length: int) -> dict[str, float]:
    """Grain's first-fit packing of the same examples into rows of the same length, 64 rows a batch."""
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    both = lambda i: {"source": examples.source[i], "target": examples.target[i], "labels": examples.labels[i]}

    def epoch():
        source = grain.MapDataset.range(len(examples)).map(both).to_iter_dataset(options)
        packer = grain.experimental.FirstFitPackIterDataset
        slots = {"source": length, "target": length, "labels": length}
        packed = packer(source, length_struct=slots, num_packing_bins=64).batch(64, drop_remainder=False)
        return [batch["source"].shape for batch in packed]

    seconds, shapes = best_of(epoch)
    return _rates(seconds, len(shapes), len(examples), sum(rows for rows, _ in shapes))


def numpy_padding(examples: Examples) -> dict[str, float]:
    """64 random examples a batch, padded to their longest in a loop."""

    def pad(rows: list[np.ndarray]) -> np.ndarray:
        out = np.zeros((len(rows), max(map(len, rows))), np.int32)
        for i, row in enumerate(rows):
            out[i, : len(row)] = row
        return out

    def epoch():
        order, shapes = np.random.default_rng(0).permutation(len(examples)), []
        for start in range(0, len(order), 64):
            ids = order[start : start + 64]
            arrays = [pad([part[i] for i in ids]) for part in (examples.source, examples.target, examples.labels)]
            arrays += [arrays[0] != 0, arrays[1] != 0]
            shapes.append(arrays[0].shape)
        return shapes

    seconds, shapes = best_of(epoch)
    return _rates(seconds, len(shapes), len(examples), sum(rows for rows, _ in shapes))


def _rates(seconds: float, count: int, examples: int, rows: int) -> dict[str, float]:
    return {"batches_per_second": count / seconds, "examples_per_second": examples / seconds, "rows": rows}


def streams() -> list[dict[str, Any]]:
    """Batches a second of each layout and peer; rows of 64 slots where they are packed."""
    base = {"name": "multi30k/en-de", "batch_examples": 64}
    examples = load_task(DataConfig(**base)).train
    packed = {"layout": "packed", "pack_length": 64, "batch_examples": 240}
    ours = {
        "static": {"layout": "static", "length": 64},
        "dynamic": {"layout": "dynamic"},
        "bucketed": {"layout": "bucketed"},
        "packed, each update's own": packed,
        "packed, lpfhp over the epoch": packed | {"packer": "lpfhp", "pack_pool": len(examples)},
        "packed, online best-fit": packed | {"packer": "online_best_fit", "pack_pool": len(examples)},
    }
    lines = [{"layout": name, **batches_of(examples, DataConfig(**{**base, **more}))} for name, more in ours.items()]
    lines.append({"layout": "peer: Grain's first-fit packing", **grain_packing(examples, 64)})
    lines.append({"layout": "peer: padded to the longest by a NumPy loop", **numpy_padding(examples)})
    return lines


def main():
    """Run everything; print, and keep as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/data.json"))
    options = parser.parse_args()
    found = {
        "packing 1,000,000 lengths": packing(),
        "batches of Multi30k": streams(),
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "grain", "sentencepiece")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}",
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
