"""A run so small that it is trained again and again: a page of the catalogue with a few updates."""

import dataclasses
import os
import shutil
import subprocess
import sys
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
        report: Callable[[Progress], Any] = lambda progress: None,
    ) -> tuple[Any, Progress]:
        """To the end, from the newest checkpoint: the parameters that are judged, and the progress."""
        training = self.setting.config.training
        # Falls from update to update; what it means does not matter.
        watched = lambda params: {"loss": -float(np.sum([np.abs(x).sum() for x in jax.tree.leaves(params)]))}
        ends = self.setting.plan.ends[-training.average_epochs :].tolist() if training.average_epochs else ()
        with self.checkpoints(folder, warn) as kept:
            state, progress = train(
                self.setting.state(),
                self.batches(),
                self.step,
                kept,
                training.checkpoint_every,
                report,
                self.setting.fingerprint,
                watched,
                training.curve_every,
                training.on_nan,
                ends,
            )
            return jax.tree.map(np.asarray, kept.chosen(state.params)), progress


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


def command(workdir: Path, more: Iterable[str] = (), before: Callable[[], Any] | None = None):
    """The row by the command line, in a process of its own."""
    line = [sys.executable, "run.py", "--experiment", "padding", "--scale", "smoke", "--row", "static"]
    line += ["--workdir", str(workdir), *(f"{key}={value}" for key, value in SETTINGS.items()), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, preexec_fn=before)
