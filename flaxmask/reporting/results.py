"""The lines of `results.jsonl`: one for each row and seed."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from flaxmask import foreign
from flaxmask.files import write_whole
from flaxmask.names import Refused
from flaxmask.reporting import kinds

FILE = "results.jsonl"
SETTINGS = "config.json"

COMPUTED = ("experiment", "scale", "parallel", "rows")
"""Settings that two runs share if their cells belong into one table."""


class Kept(NamedTuple):
    """Where the files of a cell lie.

    Attributes:
      directory: of the run.
      row: of the table.
      seed: of the row.
    """

    directory: Path
    row: str
    seed: int

    def __str__(self) -> str:
        return f"{self.row}-{self.seed}"

    @property
    def checkpoints(self) -> Path:
        """A folder."""
        return self.directory / "checkpoints" / str(self)

    @property
    def audit(self) -> Path:
        """What the audit found; with the endings .txt, .json and .png."""
        return self.directory / "audit" / str(self)

    @property
    def curve(self) -> Path:
        """The learning curve: a list of points."""
        return self.directory / "curves" / f"{self}.json"

    @property
    def metrics(self) -> Path:
        """A line for every update, of all cells of the run."""
        return self.directory / "metrics.jsonl"

    @property
    def lengths(self) -> Path:
        """What examples of each length cost, see `data.loader.Plan.by_length`."""
        return self.directory / "lengths" / f"{self}.json"

    @property
    def attention(self) -> Path:
        """What a trained model attends to in a few examples, see `attended.attended`."""
        return self.directory / "attention" / f"{self}.json"

    @property
    def nonfinite(self) -> Path:
        """Batches whose loss or gradients were no finite numbers; with a dash, the update and .npz."""
        return self.directory / "nonfinite" / str(self)

    @property
    def counts(self) -> Path:
        """What each score counts in each example of the evaluation, see `evaluation.scores`."""
        return self.directory / "counts" / f"{self}.npz"


OTHERS = ("wandb",)
"""Folders in a run's folder that are somebody else's."""


def contain(directory: Path):
    """Refuse the folder of a run that would lead us out of it.

    Raises:
      Refused: it holds a link to elsewhere, or what is no file.
    """
    foreign.contain(directory, OTHERS)


def read(directory: Path, kind: Any = None) -> list[dict[str, Any]]:
    """The results of a run; none where there is no file yet.

    Args:
      directory: of the run.
      kind: that lines must be of beside `kinds.Line`.

    Raises:
      Refused: a line that is no result; the message names it.
    """
    path = directory / FILE
    try:
        texts = foreign.read_text(path).splitlines()
    except FileNotFoundError:
        return []
    lines = []
    for number, text in enumerate(texts, start=1):
        where = f"{path}, line {number}"
        line = foreign.parse(text, kinds.Line, where, mend := "remove the line to compute it anew")
        if wrong := kind and foreign.fault(line, kind):
            raise Refused(f"{where}: not readable ({wrong}); {mend}")
        kinds.check_line(line, where)
        numbers = {name: float(x) if isinstance(x, str) else x for name, x in line["metrics"].items()}
        lines.append(line | {"metrics": numbers})
    return lines


def read_settings(directory: Path, kind: Any = kinds.Settings) -> dict[str, Any]:
    """What `config.json` says of a run.

    Args:
      directory: of the run.
      kind: of what is read of it.

    Raises:
      Refused: there is none, or it is none of ours.
    """
    path = directory / SETTINGS
    try:
        text = foreign.read_text(path)
    except FileNotFoundError:
        raise Refused(f"{directory} holds no run: expected a {SETTINGS} there") from None
    return foreign.parse(text, kind, path, "remove the folder, or name another")


def append(directory: Path, line: dict[str, Any]):
    """Add a result. JSON has no NaN and no infinity: these are written as text."""
    lines = [*read(directory), line]
    text = ""
    for entry in lines:
        metrics = {name: value if math.isfinite(value) else str(value) for name, value in entry["metrics"].items()}
        text += json.dumps(entry | {"metrics": metrics}, allow_nan=False) + "\n"
    write_whole(directory / FILE, text)
