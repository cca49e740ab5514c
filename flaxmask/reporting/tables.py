"""The tables of a run, from its results: means, published figures, tests, and what every figure rests on."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from flaxmask.evaluation.scores import SCORES
from flaxmask.reporting.metrics import METRICS
from flaxmask.reporting.notes import notes
from flaxmask.reporting.significance import DRAWS, LEVEL, POWER, Cells, Marked, compare, equivalence, mark
from flaxmask.reporting.table import Table, heading, show
from flaxmask.reporting.verdicts import digits, verdict

ENOUGH = 100
"""Examples that a test of equivalence needs, since it takes their mean for normally distributed."""

BLEUS = ("tokenised_bleu", "character_bleu", "bleu")
"""Which stands beside the first row's: the first of these that a table shows."""

Counts = Mapping[tuple[str, int], Mapping[str, np.ndarray]]
"""For rows and seeds, what each score counts in each example."""


def make_tables(
    settings: dict[str, Any], results: Sequence[dict[str, Any]], counts: Counts = MappingProxyType({})
) -> list[Table]:
    """The tables of a run, one for each part: mean, and ± standard deviation where there are several seeds.

    The best figure of a score stands out where tests say that it is; where others published a figure of a row, it
    stands beside ours with the difference and a verdict.

    Args:
      settings: of `config.json`: parts, rows and published figures.
      results: lines of `results.jsonl`.
      counts: for the tests.
    """
    return [_make_table(part, settings, results, counts) for part in settings["parts"]]


def _make_table(
    part: dict[str, Any], settings: dict[str, Any], results: Sequence[dict[str, Any]], counts: Counts
) -> Table:
    own = [line for line in results if line["row"] in part["rows"]]
    lines = {row: [line["metrics"] for line in own if line["row"] == row] for row in part["rows"]}
    measured = {name for line in own for name in line["metrics"]}
    # A metric that no row of this table has, such as an error rate of a task without words, is no column of it.
    columns = [name for name in part["columns"] if name in measured or not measured]
    printed = {row: settings.get("published", {}).get(row, {}) for row in part["rows"]}
    compared = [name for name in columns if any(name in figures for figures in printed.values())]
    marked, unfit = _marked(columns, own, counts)
    beside = _beside(columns, own, counts)
    head, bold = ["row"], set()
    for name in columns:
        if name in marked.best and _stands_out(name, marked.best[name], lines):
            bold.add((part["rows"].index(marked.best[name]), len(head)))
        head.append(heading(name))
        head += [f"{METRICS[name].label}, published", "difference"] if name in compared else []
    rows = []
    for row in part["rows"]:
        cells = [row]
        for name in columns:
            values = [line[name] for line in lines[row] if name in line]
            cells.append(show(name, values))
            if name in compared:
                cells += [printed[row].get(name, "–"), _difference(name, values, printed[row].get(name))]
        cells += [verdict(row, lines, printed, settings.get("compared", "exact"))] if compared else []
        cells += [_equivalence(part, row, counts)] if part.get("reference") else []
        cells += [beside.get(row, "–")] if beside else []
        rows.append(tuple(cells))
    head += ["verdict"] if compared else []
    head += [f"within {part['margin']:g} points of {part['reference']}"] if part.get("reference") else []
    head += [f"{METRICS[_bleu(columns)].label} beside {next(iter(beside))}"] if beside else []
    source = [f"published: {settings.get('published_by') or 'by whom is not said'}"] if compared else []
    if not settings.get("published") and settings.get("published_by"):
        source = [settings["published_by"]]
    said = [
        *settings.get("notes", ()),
        *source,
        *_said_of_tests(marked, unfit, own, columns),
        *_said_of_equivalence(part),
        *_signatures(columns, own),
        *(f"{line['row']}: {text!r} → {said!r}" for line in own for text, said in line.get("samples", {}).items()),
    ]
    return Table(part["title"], tuple(head), tuple(rows), (*said, *notes(settings, own, columns)), frozenset(bold))


def _cells(name: str, row: str, lines: Sequence[dict[str, Any]], counts: Counts) -> Cells:
    """A row's values of a metric, and what they count."""
    return {
        line["seed"]: (line["metrics"][name], counts.get((row, line["seed"]), {}).get(name))
        for line in lines
        if line["row"] == row and name in line["metrics"]
    }


def _marked(columns: Sequence[str], lines: Sequence[dict[str, Any]], counts: Counts) -> tuple[Marked, list[str]]:
    """The best rows; and the rows that do not compete, since they read what they should not or give no number."""
    fit = lambda m: not m.get("leaks") and not m.get("nan_outputs") and "diverged_at" not in m
    rows = list(dict.fromkeys(line["row"] for line in lines))
    unfit = [row for row in rows if not all(fit(line["metrics"]) for line in lines if line["row"] == row)]
    competing = {
        name: {row: _cells(name, row, lines, counts) for row in rows if row not in unfit}
        for name in columns
        if name in SCORES  # each further column would make all tests stricter
    }
    finite = {
        name: {row: cells for row, cells in of.items() if cells and all(math.isfinite(v) for v, _ in cells.values())}
        for name, of in competing.items()
    }
    return mark(finite, {name: METRICS[name].better for name in finite}), unfit


def _stands_out(name: str, best: str, lines: Mapping[str, Sequence[Mapping[str, float]]]) -> bool:
    """Whether a figure can be told from the others: a difference that is rounded away is none."""
    shown = {row: show(name, [line[name] for line in of if name in line]) for row, of in lines.items()}
    return list(shown.values()).count(shown[best]) == 1


def _said_of_tests(marked: Marked, unfit: list[str], lines: Sequence[dict[str, Any]], columns: Sequence[str]):
    """What the tests were, and what they could have seen."""
    rows = {line["row"] for line in lines}
    if not marked.tests:
        scored = [name for name in columns if name in SCORES]
        return ["nothing is tested: what the scores count in each example was not kept"] * (
            len(rows) > 1 and bool(scored)
        )
    seeds = len({line["seed"] for line in lines})
    anew = "and a paired t-test over the seeds" if seeds > 1 else "one seed: of training anew they say nothing"
    text = (
        f"bold: better than every other row, p < {LEVEL:g} after Holm's correction for {marked.tests} tests "
        f"(approximate randomisation of the examples, paired bootstrap for BLEU and chrF, {DRAWS:,} draws; {anew})"
    )
    far = [f"{METRICS[name].label} {_with_unit(name, value)}" for name, value in marked.smallest.items()]
    smallest = f"smallest differences that these tests would have seen, {POWER:.0%} of the time: {'; '.join(far)}"
    left = [f"not compared, since they leak or give no number: {', '.join(unfit)}"] if unfit else []
    return [text, smallest, *left]


def _with_unit(name: str, value: float) -> str:
    """A difference, with a digit more than the figures themselves and two at least that are not leading zeros."""
    metric = METRICS[name]
    value *= metric.scale
    if value == 0.0:
        return "not known, since every example counts the same in all rows"
    digits = max(metric.digits + 1, 1 - math.floor(math.log10(value)))
    return f"{value:,.{digits}f} {metric.unit}".strip()


def _said_of_equivalence(part: dict[str, Any]) -> list[str]:
    if not part.get("reference"):
        return []
    return [
        f"within: p of two one-sided tests, paired by example, that the mean share of right labels (of tags, of "
        f"those that name something) is no more than {part['margin']:g} percentage points from that of "
        f"{part['reference']}; below {LEVEL:g} it is shown"
    ]


def _signatures(columns: Sequence[str], lines: Sequence[dict[str, Any]]) -> list[str]:
    """Of scores of translations, once each."""
    said = [
        f"{METRICS[name].label}: sacreBLEU {text}"
        for line in lines
        for name, text in line.get("signatures", {}).items()
        if name in columns
    ]
    return list(dict.fromkeys(said))


def _equivalence(part: dict[str, Any], row: str, counts: Counts) -> str:
    """Whether a row is shown to be equivalent to the part's reference, with the p-value."""
    reference = part["reference"]
    seeds = [seed for name, seed in counts if name == row and (reference, seed) in counts]
    if row == reference or not seeds:
        return "–"
    shares = {name: np.array([_shares(counts[name, seed]) for seed in seeds]) for name in (row, reference)}
    # Of an example without a label that counts here there is no share, and in both rows.
    differences = shares[row] - shares[reference]
    differences = differences[:, ~np.isnan(differences).any(axis=0)]
    if differences.shape[1] < ENOUGH:
        return f"– ({differences.shape[1]} examples are too few)"
    margin = part["margin"] / 100.0
    p = equivalence(differences.mean(axis=0), margin)
    if len(seeds) > 1:
        p = max(p, equivalence(differences.mean(axis=1), margin))
    return f"{'yes' if p < LEVEL else 'not shown'} (p {p:.3f})"


def _shares(counts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of each example, the labels that are right; of tags, of those that name something. NaN where there are none."""
    right, labels = counts["named_accuracy" if "named_accuracy" in counts else "accuracy"].astype(float).T
    return np.where(labels > 0, right / np.maximum(labels, 1), np.nan)


def _bleu(columns: Sequence[str]) -> str:
    return next((name for name in BLEUS if name in columns), "")


def _beside(columns: Sequence[str], lines: Sequence[dict[str, Any]], counts: Counts) -> dict[str, str]:
    """By how much each row's BLEU differs from that of the first, with the p-value; none where there is one row."""
    name = _bleu(columns)
    rows = [row for row in dict.fromkeys(line["row"] for line in lines) if name]
    cells = {row: _cells(name, row, lines, counts) for row in rows}
    known = [row for row in rows if any(of is not None for _, of in cells[row].values())]
    if len(known) < 2:
        return {}
    said = dict.fromkeys(rows, "–")
    first = known[0]
    for row in known[1:]:
        if found := compare(name, cells[row], cells[first]):
            said[row] = f"{found[0].value:+.2f} (p {max(one.p for one in found):.3f})"
    return {first: said.pop(first)} | said


def _difference(name: str, values: Sequence[float], published: str | None) -> str:
    """Ours less theirs, with their digits."""
    if published is None or not values or not all(map(math.isfinite, values)):
        return "–"
    far = round(statistics.fmean(values) * METRICS[name].scale - float(published), digits(published))
    return f"{far:+.{digits(published)}f}" if far else "0"


def make_csv(runs: Sequence[tuple[dict[str, Any], Sequence[dict[str, Any]], str]]) -> str:
    """Every metric of every row and seed, unrounded, under its name in `results.jsonl`.

    Args:
      runs: settings, lines and folder of each; of several the experiment is the first column, and the folder the next
        where runs of one experiment have one.
    """
    columns = [name for settings, _, _ in runs for part in settings["parts"] for name in part["columns"]]
    measured = [name for _, lines, _ in runs for line in lines for name in line["metrics"]]
    names = [name for name in dict.fromkeys([*columns, *measured]) if name in measured or not measured]
    of_run = ["experiment"] * (len(runs) > 1) + ["run"] * any(folder for _, _, folder in runs)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*of_run, "row", "seed", *names])
    for settings, lines, folder in runs:
        which = [settings["experiment"], folder][: len(of_run)]
        for line in lines:
            writer.writerow([*which, line["row"], line["seed"], *(line["metrics"].get(name, "") for name in names)])
    return text.getvalue()
