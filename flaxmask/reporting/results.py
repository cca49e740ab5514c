"""The lines of `results.jsonl`: one for each row and seed."""

import json
import os
from pathlib import Path
from typing import Any

from flaxmask.names import Refused

FILE = "results.jsonl"
SETTINGS = "config.json"
CURVES = "curves"


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
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise Refused(
                f"{path}, line {number}: not readable ({error.msg}); remove the line to compute it anew"
            ) from error
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
    """Add a result."""
    lines = [*read(directory), line]
    write_whole(directory / FILE, "".join(json.dumps(entry) + "\n" for entry in lines))


def write_whole(path: Path, text: str):
    """Write a file that is there whole or not at all, whenever the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
