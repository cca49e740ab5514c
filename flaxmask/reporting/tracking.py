"""What is written down while a cell trains: a line for every update, and more where it is asked for."""

import contextlib
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from flaxmask.files import unwritten, write_whole
from flaxmask.names import Refused, nearest
from flaxmask.reporting.results import Kept

Kind = Literal["tensorboard", "wandb"]

SYNC = 100
"""Updates after which the lines are on disk, whatever happens to the machine."""


class Tracker(Protocol):
    """Where values of updates go."""

    def log(self, update: int, values: Mapping[str, float]):
        """Values of an update; updates rise, but for those that a run does again after it was cut off."""
        ...

    def close(self):
        """Nothing more will come."""
        ...


class Lines:
    """`metrics.jsonl` of a run: a line for every update of every cell, each once, whenever the run was cut off."""

    def __init__(self, kept: Kept):
        self._path, self._cell, self._file = kept.metrics, {"row": kept.row, "seed": kept.seed}, None

    def log(self, update: int, values: Mapping[str, float]):
        """Lines of this update and of later ones, which a run that was cut off had written, are let go."""
        if self._file is None:
            self._forget(update)
            self._file = self._path.open("a", encoding="utf-8")
        try:
            self._file.write(json.dumps({**self._cell, "update": update, **values}) + "\n")
            self._file.flush()
            if update % SYNC == 0:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritten(error, self._path) from error

    def _forget(self, update: int):
        kept = []
        for text in self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else ():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:  # the run ended within it
                continue
            own = {key: line[key] for key in self._cell} == self._cell
            if not own or line["update"] < update:
                kept.append(text + "\n")
        write_whole(self._path, "".join(kept))

    def close(self):
        """Close the file; what it could not take was said before."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


class TensorBoard:
    """Event files that TensorBoard reads, without TensorFlow."""

    def __init__(self, kept: Kept):
        self._folder, self._writer = kept.directory / "tensorboard" / str(kept), None

    def log(self, update: int, values: Mapping[str, float]):
        """What a run that was cut off had written from this update on, TensorBoard lets go."""
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=update)
        for name, value in values.items():
            self._writer.add_scalar(name, value, update)

    def close(self):
        """Write what is held back."""
        if self._writer is not None:
            self._writer.close()


class WandB:
    """A run of Weights & Biases for each cell; offline where `WANDB_MODE=offline` says so."""

    def __init__(self, kept: Kept):
        self._kept, self._run = kept, None

    def log(self, update: int, values: Mapping[str, float]):
        """Goes on with the cell's run, if there is one."""
        if self._run is None:
            kept = self._kept
            name = f"{kept.directory.name}/{kept}"
            # An identifier may hold few characters; the same cell has the same one.
            whole = "".join(c if c.isalnum() else "-" for c in f"{kept.directory.resolve()}-{kept}")
            identifier = whole[-120:].strip("-")
            how: dict[str, Any] = {"project": "flaxmask", "name": name, "id": identifier, "dir": str(kept.directory)}
            self._run = importlib.import_module("wandb").init(**how, group=kept.row, resume="allow")
        self._run.log(dict(values), step=update)

    def close(self):
        """Say that the cell is done."""
        if self._run is not None:
            self._run.finish()


KINDS: dict[str, type] = {"tensorboard": TensorBoard, "wandb": WandB}


def check(kinds: Sequence[str]):
    """Refuse what cannot be tracked to, before anything is computed.

    Raises:
      Refused: there is no such kind, or its package is not installed; the message says.
    """
    for kind in kinds:
        if kind not in get_args(Kind):
            raise Refused(f"--track {kind}: {nearest(kind, get_args(Kind))}")
        package = {"tensorboard": "tensorboardX", "wandb": "wandb"}[kind]
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise Refused(f"--track {kind}: the package {package} is missing; install it with pip") from error


class Trackers:
    """All of a cell's. Opened when the first update comes, closed with the block."""

    def __init__(self, kept: Kept, kinds: Sequence[str] = ()):
        self._all: list[Tracker] = [Lines(kept), *(KINDS[kind](kept) for kind in kinds)]

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, *_):
        for tracker in self._all:
            tracker.close()

    def log(self, update: int, values: Mapping[str, float]):
        """To each."""
        for tracker in self._all:
            tracker.log(update, values)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`."""
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
