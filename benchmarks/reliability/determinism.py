"""The same run twice, and on other numbers of devices."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.reliability import Outcome
from benchmarks.reliability.processes import finish, lines, subject

UPDATES = 50
DEVICES = (1, 2, 4, 8)
ACCELERATOR = {"JAX_PLATFORMS": "", "XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}
"""Whatever there is; on a GPU, sums in one order."""


def twice(folder: Path) -> list[Outcome]:
    """On one CPU device, in two processes, each of which compiles for itself."""
    runs = (_run(folder / name, cache=folder / f"programs_of_{name}") for name in ("once", "again"))
    same = _hashes(next(runs)) == _hashes(next(runs))
    what = "the same run in two processes on one CPU device: parameters, optimiser, key and losses by SHA-256"
    return [Outcome(what, "the same", "the same" if same else "other", same)]


def devices(folder: Path, tolerance: float = 1e-5) -> list[Outcome]:
    """On virtual CPU devices, under jit, with dropout."""
    found = np.array([_losses(_run(folder / f"on_{number}", number)) for number in DEVICES])
    apart = np.max(np.abs(found - found[0]) / np.abs(found[0]))
    numbers = ", ".join(map(str, DEVICES))
    what = f"{UPDATES} losses with dropout, under jit on {numbers} virtual CPU devices"
    return [Outcome(what, f"within {tolerance:.0e} of one another", f"within {apart:.1e}", bool(apart <= tolerance))]


def accelerator(folder: Path) -> list[Outcome]:
    """Twice on an accelerator, with its deterministic operations; nothing where there is none."""
    first = _run(folder / "accelerated", accelerated=True)
    platform = _hashes(first)[0]["platform"]
    if platform == "cpu":
        return []
    same = _hashes(first) == _hashes(_run(folder / "accelerated_again", accelerated=True))
    what = f"the same run in two processes on one {platform}, with {ACCELERATOR['XLA_FLAGS']}"
    return [Outcome(what, "the same", "the same" if same else "other", same)]


def _run(folder: Path, number: int = 1, accelerated: bool = False, cache: Path | None = None) -> Path:
    more = ACCELERATOR if accelerated else {}
    finish(
        subject(folder, UPDATES, number), folder, more | ({"JAX_COMPILATION_CACHE_DIR": str(cache)} if cache else {})
    )
    return folder


def _hashes(folder: Path) -> list[dict]:
    return [json.loads((folder / "final.json").read_text(encoding="utf-8")), *lines(folder / "metrics.jsonl")]


def _losses(folder: Path) -> list[float]:
    return [line["loss"] for line in lines(folder / "metrics.jsonl")]


TRIALS: tuple[Callable[[Path], list[Outcome]], ...] = (twice, devices, accelerator)
