"""What stands in the files of a run: their kinds, and what `foreign.fault` cannot say of them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from flaxmask import foreign
from flaxmask.names import Refused
from flaxmask.reporting.metrics import METRICS


class Part(TypedDict):
    """A table, see `experiment.Part`."""

    title: str
    rows: list[str]
    columns: list[str]
    reference: NotRequired[str]
    margin: NotRequired[float]
    front: NotRequired[list[str] | None]


class Data(TypedDict):
    """Of a row's data, what is drawn."""

    train_longest: NotRequired[int | None]


class Masks(TypedDict):
    """Of a row's configuration, what is printed."""

    mask: NotRequired[dict[str, str]]
    data: NotRequired[Data]


class Settings(TypedDict):
    """`config.json`, as far as it is read."""

    experiment: NotRequired[str]
    rows: dict[str, dict[str, Any]]


class Shown(TypedDict):
    """The same for a report."""

    experiment: str
    title: str
    scale: str
    parallel: str
    parts: list[Part]
    rows: dict[str, Masks]
    published: NotRequired[dict[str, dict[str, str]]]
    published_by: NotRequired[str]
    compared: NotRequired[Literal["exact", "level", "trend"]]
    notes: NotRequired[list[str]]


class Line(TypedDict):
    """A line of `results.jsonl`: a cell and what was measured; what is no number stands as text."""

    row: str
    seed: int
    metrics: dict[str, float | Literal["nan", "inf", "-inf"]]


class Versions(TypedDict):
    """Those that are printed; there are more."""

    python: str
    jax: str
    flax: str


class Provenance(TypedDict):
    """See `provenance`."""

    git: str
    dirty: bool
    versions: Versions
    devices: list[str]
    command: str
    started: NotRequired[str]
    seconds: NotRequired[float]
    load: NotRequired[float]
    own_load: NotRequired[float]
    cpus: NotRequired[int]


class Epochs(TypedDict):
    """Of a cell's training."""

    epochs: NotRequired[float]


class Trained(TypedDict):
    """A cell's configuration, as far as it is read."""

    training: NotRequired[Epochs]


class Reported(TypedDict):
    """A line as a report needs it."""

    provenance: Provenance
    config: NotRequired[Trained]
    samples: NotRequired[dict[str, str]]
    signatures: NotRequired[dict[str, str]]


class Lengths(TypedDict):
    """See `data.loader.Plan.by_length`."""

    length: list[float]
    tokens: list[float]
    slots: list[float]


class Map(TypedDict):
    """One attention, see `attended.attended`."""

    name: str
    query: Literal["source", "target"]
    key: Literal["source", "target"]
    weights: list[list[list[list[float]]]]
    visible: list[list[list[int]]]


class Attended(TypedDict):
    """See `attended.attended`."""

    rows: list[dict[str, list[str]]]
    maps: list[Map]


Points = list[dict[str, float]]
"""Of a learning curve."""


def check_line(line: dict[str, Any], where: str):
    """Refuse names that could lead out of the folder or into the terminal."""
    foreign.check_name(line["row"], f"{where}: the row")
    if line["seed"] < 0:
        raise Refused(f"{where}: the seed {line['seed']}: expected at least 0")
    for name in line["metrics"]:
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            raise Refused(f"{where}: the metric {name!r}: expected letters, digits and _")


def check_settings(settings: dict[str, Any], path: Path):
    """Refuse what a table could not be made of."""
    foreign.check_name(settings["experiment"], f"{path}: the experiment")
    columns = [name for part in settings["parts"] for name in (*part["columns"], *(part.get("front") or ()))]
    if any(len(part.get("front") or "12") != 2 for part in settings["parts"]):
        raise Refused(f"{path}: a front is of two metrics")
    figures = [pair for of in settings.get("published", {}).values() for pair in of.items()]
    for name in (*columns, *(name for name, _ in figures)):
        if name not in METRICS:
            raise Refused(f"{path}: {name!r} is no metric")
    for name, figure in figures:
        if not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,10})?", figure):
            raise Refused(f"{path}: {name} is published as {figure!r}: expected a number")
    for row in (*settings["rows"], *(row for part in settings["parts"] for row in part["rows"])):
        foreign.check_name(row, f"{path}: the row")


def _bad_lengths(found: dict[str, Any]) -> str:
    sides = [found[name] for name in ("length", "tokens", "slots")]
    if len(set(map(len, sides))) > 1 or not sum(found["slots"]) > 0 or min(map(min, sides)) < 0:
        return "expected lists of one length, of numbers from 0 up, and some slots"
    return ""


def _bad_map(found: dict[str, Any]) -> str:
    """Whether weights and visible cells are of the tokens that they are said to be of."""
    if not found["maps"] or not found["rows"]:
        return "expected a map and a row"
    for one in found["maps"]:
        if (one["query"], one["key"]) == ("source", "target"):
            return f"{one['name']!r}: no source reads a target"
        if not len(found["rows"]) == len(one["weights"]) == len(one["visible"]):
            return f"{one['name']!r}: expected as many examples as rows"
        for row, weights, visible in zip(found["rows"], one["weights"], one["visible"], strict=True):
            sizes = [len(row.get(one[side], ())) for side in ("query", "key")]
            if not weights or 0 in sizes or any(list(_shape(cells)) != sizes for cells in (*weights, visible)):
                return f"{one['name']!r}: expected cells for each of {sizes[0]} × {sizes[1]} tokens"
    return ""


def _shape(cells: list[list[Any]]) -> tuple[int, int]:
    """Rows and columns; -1 where the rows differ."""
    widths = set(map(len, cells))
    return len(cells), widths.pop() if len(widths) == 1 else -1


_MORE: dict[Any, Callable[[Any], str]] = {Lengths: _bad_lengths, Attended: _bad_map}


def read(path: Path, kind: Any) -> Any:
    """What a cell left beside its results; None where it left nothing.

    Raises:
      Refused: it is not what a cell leaves.
    """
    mend = "remove it to have a report without it"
    try:
        found = foreign.parse(foreign.read_text(path), kind, path, mend)
    except FileNotFoundError:
        return None
    if wrong := _MORE[kind](found) if kind in _MORE else "":
        raise Refused(f"{path}: not readable ({wrong}); {mend}")
    return found
