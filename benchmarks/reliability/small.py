"""A run so small that it is trained again and again: a page of the catalogue with a few updates."""

import dataclasses
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxmask.commands import EXPERIMENTS
from flaxmask.data.loader import batches
from flaxmask.experiment import find
from flaxmask.setting import Setting
from flaxmask.training.checkpoint import Checkpoints
from flaxmask.training.loop import Progress, train
from flaxmask.training.step import CompiledStep, TrainState

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "data.train_examples": "96",
    "data.batch_examples": "12",
    "data.evaluation_examples": "20",
    "data.shapes": "1",
    "data.length": "10",
    "data.validation_split": "validation",
    "training.checkpoint_every": "2",
}
"""Eight updates, a checkpoint after every second."""


@dataclasses.dataclass(frozen=True)
class Small:
    """A row of `padding`, trained without its evaluation.

    Attributes:
      setting: what is trained.
      step: its update, compiled once for all starts.
    """

    setting: Setting
    step: CompiledStep

    @classmethod
    def of(cls, **changes: str) -> "Small":
        """With settings of `training` other than the page's."""
        changed = {f"training.{name}": value for name, value in changes.items()}
        config = find("padding", EXPERIMENTS).configs("smoke", SETTINGS | changed)["static"]
        setting = Setting.of(config, 0, 1)
        return cls(setting, CompiledStep(setting.update, devices=jax.devices()[:1]))

    def checkpoints(self, folder: Path, warn: Callable[[str], Any] = print) -> Checkpoints:
        """Those in a folder."""
        return Checkpoints(folder, self.setting.config.training, warn)

    def restored(self, folder: Path, warn: Callable[[str], Any]) -> TrainState | None:
        """The state that a run would go on from."""
        with self.checkpoints(folder, warn) as kept:
            found = kept.restore(self.setting.state(), self.batches())
        return found and found[0]

    def batches(self) -> Any:
        """From the first."""
        return batches(self.setting.task.train, self.setting.plan)

    def train(
        self,
        folder: Path,
        warn: Callable[[str], Any] = print,
        watch: Callable[[int, Any], dict[str, float]] = lambda step, params: {"loss": -_norm(params)},
    ) -> tuple[Any, Progress]:
        """To the end, from the newest checkpoint: the parameters that are judged, and the progress.

        Points of a curve are what `watch` makes of the update and the parameters; by default a loss that falls.
        """
        training, done = self.setting.config.training, [0]
        ends = self.setting.plan.ends[-training.average_epochs :].tolist() if training.average_epochs else ()
        with self.checkpoints(folder, warn) as kept:
            state, progress = train(
                self.setting.state(),
                self.batches(),
                self.step,
                kept,
                training.checkpoint_every,
                lambda progress: done.append(progress.steps),
                self.setting.fingerprint,
                lambda params: watch(done[-1], params),
                training.curve_every,
                training.on_nan,
                ends,
            )
            return jax.tree.map(np.asarray, kept.chosen(state.params)), progress


def _norm(params: Any) -> float:
    return float(np.sum([np.abs(x).sum() for x in jax.tree.leaves(params)]))


def same(left: Any, right: Any) -> bool:
    """Whether two trees hold the same bits."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def copied(folder: Path, to: Path) -> Path:
    """A copy in place of what was there."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    return to


def files(folder: Path) -> list[Path]:
    """All of a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def command(
    workdir: Path,
    more: Iterable[str] = (),
    blocks: int | None = None,
    row: str = "static",
    change: str = "",
) -> subprocess.CompletedProcess:
    """A row by the command line, in a process of its own.

    Args:
      workdir: of the run.
      more: settings.
      blocks: no file that it writes may be larger than so many times 512 bytes.
      row: of `padding`.
      change: body of a function `change(batch)`, which is done to every batch; "" does nothing.
    """
    program = CHANGED.format(textwrap.indent(change, "    ")) if change else ""
    line = [sys.executable, *(("-c", program) if change else ("run.py",)), "--experiment", "padding"]
    line += ["--scale", "smoke", "--row", row, "--workdir", str(workdir)]
    line += [*(f"{key}={value}" for key, value in SETTINGS.items()), *more]
    if blocks is not None:  # set by a shell: a function of ours between fork and exec may lock up beside jax's threads
        line = ["sh", "-c", f'ulimit -f {blocks} && exec "$@"', "sh", *line]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)


CHANGED = """
import sys, dataclasses, jax, numpy as np, run
from flaxmask.data import loader
def change(batch):
{}
build = loader.build_batch
loader.build_batch = lambda *args, **how: change(build(*args, **how))
sys.exit(run.main(sys.argv[1:]))
"""


def last(done: subprocess.CompletedProcess) -> str:
    """The last line that a command said."""
    return (done.stderr.strip().splitlines() or [""])[-1]
