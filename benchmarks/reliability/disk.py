"""A disk that is full in the middle of a save, and results whose writer is killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability import Outcome
from benchmarks.reliability.rot import only
from benchmarks.reliability.small import ROOT, Small, command, last, same
from flaxmask.reporting import results
from flaxmask.reporting.metrics import MEASURED
from flaxmask.training import seal

ALL = "training.keep_checkpoints=9"


class NoDisk(OSError):
    """No file system can be mounted here."""


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A file system of so many bytes, which may be made larger.

    Raises:
      NoDisk: nobody but root may mount one, and not everywhere.
    """
    place.mkdir(parents=True)
    mount = lambda *how: subprocess.run(["mount", "-t", "tmpfs", *how, "tmpfs", str(place)], check=True, stderr=-3)
    try:
        mount("-o", f"size={size}")
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoDisk("no file system can be mounted here") from error
    try:
        yield lambda size: mount("-o", f"remount,size={size}")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def full_disk(folder: Path) -> list[Outcome]:
    """Room for a share of a run's checkpoints; then more, and the same command again. Needs root."""
    whole = _whole(folder)
    [wanted] = results.read(whole)
    one = max(_size(path) for path in _checkpoints(whole).iterdir())
    outcomes = []
    for share in (1.4, 3.7, 4.3):
        with small_disk(folder / f"room for {share}", int(share * one)) as grow:
            run = folder / f"room for {share}" / "run"
            outcomes += _refused(f"room for {share} of 4 checkpoints", command(run, [ALL]), run, whole)
            grow(100 * one)
            again = command(run, [ALL])
            found = results.read(run)
            held = again.returncode == 0 and len(found) == 1 and _figures(found[0]) == _figures(wanted)
            said = "yes" if held else last(again)
            outcomes.append(Outcome("then more room, and the command again", "the unbroken result", said, held))
    return outcomes


def large_files(folder: Path) -> list[Outcome]:
    """The same where nothing can be mounted: no file may be larger than 48 KiB, which one of a state's is."""
    whole, done = _whole(folder), command(folder / "run", [ALL], blocks=2 * 48)
    return _refused("no file may be larger than 48 KiB", done, folder / "run", whole)


def _whole(folder: Path) -> Path:
    """A run that nothing happens to."""
    done = command(folder / "whole", [ALL])
    assert done.returncode == 0, done.stderr
    return folder / "whole"


def _refused(what: str, done: subprocess.CompletedProcess, run: Path, whole: Path) -> list[Outcome]:
    """What is said of a disk that is full, and what is left on it."""
    line, steps = last(done), seal.steps(_checkpoints(run))
    said = done.returncode == 1 and "Traceback" not in done.stderr and f"{run}" in line and "MiB are free" in line
    small, copy = Small.of(keep_checkpoints="9"), whole.with_name("copy")
    state = lambda of, step: only(small, _checkpoints(of), copy, step)
    alike = sum(same(state(run, step), state(whole, step)) for step in steps)
    half = [path.name for path in run.rglob("*") if path.name.endswith(".tmp") or "-tmp" in path.name]
    half += [text for text in _lines(run / results.FILE) if not text.endswith("}")]
    return [
        Outcome(what, "exit code 1; a line names path and room", f"{done.returncode}; {line}", said),
        Outcome("checkpoints from before", "restored bit for bit", f"{alike}/{len(steps)}", alike == len(steps)),
        Outcome("what is written by half", "nothing", ", ".join(half) or "nothing", not half),
    ]


def _checkpoints(run: Path) -> Path:
    return run / "checkpoints" / "static-0"


def _figures(line: dict[str, Any]) -> dict[str, Any]:
    """Of a result, but for what differs from run to run."""
    return {name: value for name, value in line["metrics"].items() if name not in MEASURED}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _size(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*"))


WRITER = """
import sys
from pathlib import Path
from flaxmask.reporting import results
folder = Path(sys.argv[1])
print("ready", flush=True)
for seed in range(len(results.read(folder)), 10**6):
    metrics = {"loss": float("nan"), "per": seed / 3}
    results.append(folder, {"row": "a", "seed": seed, "metrics": metrics, "config": "x" * 5000})
"""


def killed_results(folder: Path, kills: int = 50) -> list[Outcome]:
    """A process adds results without a pause and is killed at any moment; the next one goes on."""
    rng, unreadable, lost, known = np.random.default_rng(0), 0, 0, 0
    for _ in range(kills):
        line = [sys.executable, "-c", WRITER, str(folder)]
        process = subprocess.Popen(line, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        try:
            found = results.read(folder)
        except ValueError:
            unreadable += 1
            continue
        lost += [entry["seed"] for entry in found] != list(range(len(found))) or len(found) < known
        known = len(found)
    return [
        Outcome(f"{kills} kills while results are written", "0 unreadable lines", f"{unreadable}", unreadable == 0),
        Outcome("the same", "0 lost lines", f"{lost} of {known}", lost == 0 and known > kills),
    ]


TRIALS = (full_disk, killed_results)
