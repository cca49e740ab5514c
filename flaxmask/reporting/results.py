"""The lines of `results.jsonl`: one for each row and seed."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from flaxmask.files import write_whole
from flaxmask.names import Refused

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


def read(directory: Path) -> list[dict[str, Any]]:
    """The results of a run; none where there is no file yet.

    Raises:
      Refused: a line that is no JSON; the message names it.
    """
    path = directory / FILE
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise Refused(
                f"{path}, line {number}: not readable ({error.msg}); remove the line to compute it anew"
            ) from error
        lines.append(
            line
            | {
                "metrics": {
                    name: float(value) if isinstance(value, str) else value for name, value in line["metrics"].items()
                }
            }
        )
    return lines


def read_settings(directory: Path) -> dict[str, Any]:
    """What `config.json` says of a run.

    Raises:
      Refused: there is none, or it is no JSON.
    """
    path = directory / SETTINGS
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{directory} holds no run: expected a {SETTINGS} there") from None
    except json.JSONDecodeError as error:
        raise Refused(f"{path}: not readable ({error.msg}); remove the folder, or name another") from error


def append(directory: Path, line: dict[str, Any]):
    """Add a result. JSON has no NaN and no infinity: these are written as text."""
    lines = [*read(directory), line]
    text = ""
    for entry in lines:
        metrics = {name: value if math.isfinite(value) else str(value) for name, value in entry["metrics"].items()}
        text += json.dumps(entry | {"metrics": metrics}, allow_nan=False) + "\n"
    write_whole(directory / FILE, text)
