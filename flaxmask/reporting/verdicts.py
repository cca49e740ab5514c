"""What our figures say of published ones, in one word."""

import math
import statistics
from collections.abc import Mapping, Sequence

from flaxmask.reporting.metrics import METRICS

Lines = Mapping[str, Sequence[Mapping[str, float]]]
"""For each row, the metrics of each seed."""
Printed = Mapping[str, Mapping[str, str]]
"""For each row, published figures by metric, as text with their digits."""


def verdict(row: str, lines: Lines, printed: Printed, compared: str) -> str:
    """The word for a row; "–" where nothing can be compared yet.

    Args:
      row: of the table.
      lines: ours.
      printed: theirs.
      compared: see `Experiment.compared`.
    """
    figures = {name: figure for name, figure in printed[row].items() if any(name in line for line in lines[row])}
    if not figures:
        return "–"
    if compared == "trend":
        holds = [_in_order(row, name, lines, printed) for name in figures]
        known = [held for held in holds if held is not None]
        return ("trend holds" if all(known) else "trend fails") if known else "–"
    reached = _exactly if compared == "exact" else _level
    good = all(reached(name, [line[name] for line in lines[row] if name in line], figures[name]) for name in figures)
    return "reproduced" if good else "falls short"


def _exactly(name: str, ours: Sequence[float], published: str) -> bool:
    """Whether every seed, rounded to the digits that they gave, is theirs."""
    return all(f"{value * METRICS[name].scale:.{digits(published)}f}" == published for value in ours)


def _level(name: str, ours: Sequence[float], published: str) -> bool:
    """Whether our mean is at least as good as theirs, or no further off than our deviation over seeds."""
    if not all(map(math.isfinite, ours)):
        return False
    spread = statistics.stdev(ours) if len(ours) > 1 else 0.0
    better = statistics.fmean(ours) * METRICS[name].scale - float(published)
    return (better if METRICS[name].better == "high" else -better) >= -spread * METRICS[name].scale


def _in_order(row: str, name: str, lines: Lines, printed: Printed) -> bool | None:
    """Whether the row stands to all others as in the published table, ties and NaN apart; None where there is no
    other.
    """
    ours = {
        other: statistics.fmean(line[name] for line in lines[other] if name in line)
        for other in printed
        if name in printed[other] and any(name in line for line in lines[other])
    }
    theirs = float(printed[row][name])
    others = [other for other in ours if float(printed[other][name]) != theirs]
    if not others:
        return None
    return all((ours[row] - ours[other]) * (theirs - float(printed[other][name])) > 0 for other in others)


def digits(figure: str) -> int:
    """After the point."""
    return len(figure.partition(".")[2])
