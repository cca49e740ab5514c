"""Runs as processes of their own, watched through the files that they leave."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LONGEST = 300.0
"""Seconds after which a run that does not do what it is waited for is given up."""
TINY = (
    *("--experiment", "padding", "--scale", "smoke", "--row", "static", "--row", "packed"),
    *("data.train_examples=96", "data.batch_examples=32", "data.evaluation_examples=20", "data.shapes=1"),
    *("data.length=10", "training.epochs=10", "training.checkpoint_every=4", "model.dropout=0.1"),
)
"""Arguments of `run.py`: two rows of 30 updates each, or few less, with dropout."""
ROWS = ("static", "packed")


def subject(folder: Path, updates: int, devices: int = 1) -> list[str]:
    """The command of a tiny training run, see `benchmarks.reliability.subject`."""
    return [sys.executable, "-m", "benchmarks.reliability.subject", str(folder), str(updates), str(devices)]


def experiment(folder: Path, *more: str) -> list[str]:
    """The command of a tiny experiment."""
    return [sys.executable, "run.py", *TINY, "--workdir", str(folder), *more]


def environment(cache: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a run: programs kept in a cache that all restarts share, and no other; a killed writer may cut an entry."""
    kept = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    here = {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(cache)}
    return {"JAX_PLATFORMS": "cpu", **os.environ, **kept, **here, **(more or {})}


class Running:
    """A process; what it says goes to files beside its folder."""

    def __init__(self, command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None):
        self.began = time.time()
        self._said = folder.with_name(f"{folder.name}.stderr")
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so that it is not handed on
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.out = folder.with_name(f"{folder.name}.stdout")
        with self._said.open("w") as file, self.out.open("w") as out:
            env = environment(folder.parent / "programs", more)
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=file)

    @property
    def said(self) -> str:
        """All of stderr so far."""
        return self._said.read_text(encoding="utf-8", errors="replace")

    def until(self, there: Callable[[], bool]) -> bool:
        """Wait for something, looking every millisecond; false if the run ended before."""
        end = time.monotonic() + LONGEST
        while not there():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                raise TimeoutError(f"{self.process.args} does not do what it is waited for: {self.said[-2000:]}")
            time.sleep(0.001)
        return self.process.poll() is None

    def send(self, number: int) -> int:
        """A signal; the exit code that came of it."""
        self.process.send_signal(number)
        return self.process.wait(LONGEST)


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A process that does not outlive the block."""
    started = Running(command, folder, more)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.send(signal.SIGKILL)


def finish(command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None) -> str:
    """Let a run come to its end; what it said on stderr.

    Raises:
      RuntimeError: it failed.
    """
    with running(command, folder, more) as run:
        if run.process.wait(LONGEST) != 0:
            raise RuntimeError(f"{command} ended with {run.process.returncode}: {run.said[-2000:]}")
        return run.said


def lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a file that grows."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def count(path: Path) -> int:
    """Whole lines of a file that grows, without reading what they say."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def grows(path: Path) -> Callable[[], bool]:
    """Whether a run that goes on writes its lines by now; it drops those first that it will write again."""
    before = count(path)
    return lambda: count(path) not in (0, before)


def saving(checkpoints: Path, since: float = 0.0) -> bool:
    """Whether Orbax writes a checkpoint, which is not whole yet, or was killed then.

    Args:
      checkpoints: of a cell.
      since: a time; folders from before it, which a killed run has left, do not count.
    """
    with contextlib.suppress(FileNotFoundError):  # it is whole now
        return any(path.stat().st_mtime > since for path in checkpoints.glob("*.orbax-checkpoint-tmp*"))
    return False
