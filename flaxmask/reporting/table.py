"""Results as a table: Markdown, LaTeX, CSV and the terminal, from the same cells."""

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from flaxmask.evaluation.translation import bootstrap
from flaxmask.reporting.metrics import METRICS
from flaxmask.reporting.verdicts import digits, equivalence, verdict


@dataclasses.dataclass(frozen=True)
class Table:
    """Text cells with a head, and notes under them.

    Attributes:
      title: what the table answers.
      head: names of the columns, the row's name first.
      rows: cells as text.
      notes: one line each: what every figure rests on.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """GitHub's Markdown."""
        lines = [self.head, tuple("---" if i == 0 else "---:" for i in range(len(self.head))), *self.rows]
        escape = lambda cell: cell.replace("|", "\\|")
        table = "\n".join("| " + " | ".join(map(escape, line)) + " |" for line in lines)
        notes = "\n".join(f"- {note}" for note in self.notes)
        return f"# {self.title}\n\n{table}\n\n{notes}\n"

    def latex(self) -> str:
        """A `tabular` for the package booktabs, with the notes as comments."""
        line = lambda cells: " & ".join(map(_latex, cells)) + r" \\"
        body = "\n".join(map(line, self.rows))
        notes = "\n".join(f"% {note}" for note in (self.title, *self.notes))
        columns = "l" + "r" * (len(self.head) - 1)
        return (
            f"{notes}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(self.head)}\n\\midrule\n{body}\n"
            "\\bottomrule\n\\end{tabular}\n"
        )

    def rich(self, width: int | None = None) -> RichTable:
        """For the terminal; turned on its side where it has no room in `width` characters and needs less that way."""
        lines = [self.head, *self.rows]
        if width is not None and width < _needed(lines) > _needed(turned := list(zip(*lines, strict=True))):
            return dataclasses.replace(self, head=turned[0], rows=tuple(turned[1:])).rich()
        notes = Text("\n".join(self.notes), style="dim")
        table = RichTable(
            title=self.title, caption=notes, caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for i, name in enumerate(self.head):
            heading = name.replace(" (", "\n(").replace(", ", "\n")
            table.add_column(heading, justify="left" if i == 0 else "right", overflow="fold", no_wrap=i == 0)
        for row in self.rows:
            table.add_row(*row)
        return table


def _needed(lines: Sequence[Sequence[str]]) -> int:
    """Characters that columns take where a unit stands under its name."""
    return sum(
        max(len(part) for cell in column for part in cell.split(" (")) + 1 for column in zip(*lines, strict=True)
    )


ENOUGH = 100
"""Examples that a test of equivalence needs, since it takes their mean for normally distributed."""

Shares = Mapping[tuple[str, int], Sequence[float]]
"""For rows and seeds, how well each example was answered."""

Bleus = Mapping[tuple[str, int], Mapping[str, Any]]
"""For rows and seeds, what stands behind the scores of translations, see `judge.Bleu`."""


def make_tables(
    settings: dict[str, Any],
    results: Sequence[dict[str, Any]],
    shares: Shares = MappingProxyType({}),
    bleus: Bleus = MappingProxyType({}),
) -> list[Table]:
    """The tables of a run, one for each part: mean, and ± standard deviation where there are several seeds.

    Where others published a figure of a row, it stands beside ours with the difference and a verdict.

    Args:
      settings: of `config.json`: parts, rows and published figures.
      results: lines of `results.jsonl`.
      shares: for the tests of equivalence.
      bleus: for the paired bootstrap.
    """
    return [_make_table(part, settings, results, shares, bleus) for part in settings["parts"]]


def _make_table(
    part: dict[str, Any], settings: dict[str, Any], results: Sequence[dict[str, Any]], shares: Shares, bleus: Bleus
) -> Table:
    lines = {row: [line["metrics"] for line in results if line["row"] == row] for row in part["rows"]}
    measured = {name for metrics in lines.values() for line in metrics for name in line}
    # A metric that no row of this table has, such as an error rate of a task without words, is no column of it.
    columns = [name for name in part["columns"] if name in measured or not measured]
    printed = {row: settings.get("published", {}).get(row, {}) for row in part["rows"]}
    compared = [name for name in columns if any(name in figures for figures in printed.values())]
    head = ["row"]
    for name in columns:
        head.append(_heading(name))
        head += [f"{METRICS[name].label}, published", "difference"] if name in compared else []
    translated = [row for row in part["rows"] if any(name == row for name, _ in bleus)]
    first = translated[0] if len(translated) > 1 else None
    rows = []
    for row in part["rows"]:
        cells = [row]
        for name in columns:
            values = [line[name] for line in lines[row] if name in line]
            cells.append(show(name, values))
            if name in compared:
                cells += [printed[row].get(name, "–"), _difference(name, values, printed[row].get(name))]
        cells += [verdict(row, lines, printed, settings.get("compared", "exact"))] if compared else []
        cells += [_equivalence(part, row, shares)] if part.get("reference") else []
        cells += [_beside(first, row, bleus)] if first else []
        rows.append(tuple(cells))
    head += ["verdict"] if compared else []
    head += [f"within {part['margin']:g} points of {part['reference']}"] if part.get("reference") else []
    head += [f"BLEU beside {first}"] if first else []
    own = [line for line in results if line["row"] in part["rows"]]
    source = [f"published: {settings['published_by']}"] if compared else []
    if not settings.get("published") and settings.get("published_by"):
        source = [settings["published_by"]]
    samples = [f"{line['row']}: {text!r} → {said!r}" for line in own for text, said in line.get("samples", {}).items()]
    if part.get("reference"):
        source.append(
            f"within: p of two one-sided tests, paired by example, that the mean share of right labels (of tags, of "
            f"those that name something) is no more than {part['margin']:g} percentage points from that of "
            f"{part['reference']}; below 0.05 it is shown"
        )
    if first:
        source.append(
            f"beside: difference of {METRICS[bleus[next(iter(bleus))]['metric']].label} and its p by paired bootstrap, "
            f"1,000 draws of the examples; of training anew it says nothing"
        )
    signed = next(iter(bleus.values()), {}).get("signatures", {}) if translated else {}
    source += [f"{METRICS[name].label}: sacreBLEU {signed[name]}" for name in columns if name in signed]
    said = (*settings.get("notes", ()), *source, *samples)
    return Table(part["title"], tuple(head), tuple(rows), (*said, *_notes(settings, own)))


def _equivalence(part: dict[str, Any], row: str, shares: Shares) -> str:
    """Whether a row is shown to be equivalent to the part's reference, with the p-value."""
    seeds = [seed for name, seed in shares if name == row and (part["reference"], seed) in shares]
    if row == part["reference"] or not seeds:
        return "–"
    mean = lambda name: [statistics.fmean(of) for of in zip(*(shares[name, seed] for seed in seeds), strict=True)]
    # Of an example without a label that counts here there is no share, and in both rows.
    pairs = [pair for pair in zip(mean(row), mean(part["reference"]), strict=True) if not any(map(math.isnan, pair))]
    if len(pairs) < ENOUGH:
        return f"– ({len(pairs)} examples are too few)"
    ours, theirs = zip(*pairs, strict=True)
    p = equivalence(ours, theirs, part["margin"] / 100.0)
    return f"{'yes' if p < 0.05 else 'not shown'} (p {p:.3f})"


def _beside(first: str, row: str, bleus: Bleus) -> str:
    """By how much a row's BLEU differs from that of the first, with the p-value; all seeds that both have."""
    seeds = [seed for name, seed in bleus if name == row and (first, seed) in bleus]
    if row == first or not seeds:
        return "–"
    all_of = lambda name: [counts for seed in seeds for counts in bleus[name, seed]["counts"]]
    difference, p = bootstrap(all_of(row), all_of(first))
    return f"{difference:+.2f} (p {p:.3f})"


def _heading(name: str) -> str:
    metric = METRICS[name]
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def _difference(name: str, values: Sequence[float], published: str | None) -> str:
    """Ours less theirs, with their digits."""
    if published is None or not values or not all(map(math.isfinite, values)):
        return "–"
    far = round(statistics.fmean(values) * METRICS[name].scale - float(published), digits(published))
    return f"{far:+.{digits(published)}f}" if far else "0"


def make_csv(settings: dict[str, Any], results: Sequence[dict[str, Any]]) -> str:
    """Every metric of every row and seed, unrounded, under its name in `results.jsonl`."""
    columns = [name for part in settings["parts"] for name in part["columns"]]
    names = list(dict.fromkeys([*columns, *(name for line in results for name in line["metrics"])]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "seed", *names])
    for line in results:
        writer.writerow([line["row"], line["seed"], *(line["metrics"].get(name, "") for name in names)])
    return text.getvalue()


def show(name: str, values: Sequence[float]) -> str:
    """A cell: the mean of a metric's values, and their deviation if there are several; "–" for none."""
    if not values:
        return "–"
    metric = METRICS[name]
    values = [value * metric.scale for value in values]
    kind = "e" if metric.scientific else "f"
    number = lambda value: f"{value:,.{metric.digits}{kind}}" if math.isfinite(value) else str(value)
    if len(values) == 1:
        return number(values[0])
    if not all(map(math.isfinite, values)):
        return f"{sum(not math.isfinite(value) for value in values)} of {len(values)} not finite"
    return f"{number(statistics.fmean(values))} ± {number(statistics.stdev(values))}"


def _notes(settings: dict[str, Any], results: Sequence[dict[str, Any]]) -> list[str]:
    """What the figures rest on."""
    if not results:
        return ["no cell is finished yet"]
    seeds = sorted({line["seed"] for line in results})
    origins = [line["provenance"] for line in results]
    versions = lambda of: ", ".join(f"{name} {of['versions'][name]}" for name in ("python", "jax", "flax"))
    machines = [f"{len(of['devices'])} device(s): {of['devices'][0]}; {versions(of)}" for of in origins]
    commits = [f"commit {of['git'][:12] or 'unknown'}{' with changes' if of['dirty'] else ''}" for of in origins]
    counts = ("truncated_examples", "skipped_examples", "unknown_tokens")
    left_out = [
        f"{row}: "
        + ", ".join(
            f"{metrics[name]:,.0f} {METRICS[name].unit} {METRICS[name].label}" for name in counts if metrics.get(name)
        )
        for row, metrics in {line["row"]: line["metrics"] for line in results}.items()
        if any(metrics.get(name) for name in counts)
    ]
    # Most rows read the same data: said once, of all.
    said = dict.fromkeys(text.split(": ", 1)[1] for text in left_out)
    cached = sum(line["metrics"].get("compile_cached", 0) for line in results)
    notes = (
        [f"{cached:.0f} programs came from the compilation cache: their compile seconds are of reading"]
        if cached
        else []
    )
    spread = "mean ± standard deviation over" if len(seeds) > 1 else "one run, no spread:"
    return [
        f"scale {settings['scale']}; {settings['parallel']}; "
        f"{spread} seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
        *dict.fromkeys(machines),
        *dict.fromkeys(commits),
        *dict.fromkeys(f"`{of['command']}`" for of in origins),
        *(f"of the data: {text}" for text in said),
        *notes,
    ]


def _latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    for plain, escaped in (
        ("\\", r"\textbackslash{}"),
        ("&", r"\&"),
        ("%", r"\%"),
        ("_", r"\_"),
        ("#", r"\#"),
        ("$", r"\$"),
    ):
        text = text.replace(plain, escaped)
    return text.replace("±", r"$\pm$").replace("–", "--")
