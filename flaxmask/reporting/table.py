"""Results as a table: Markdown, LaTeX, CSV and the terminal, from the same cells."""

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from flaxmask.reporting.metrics import METRICS


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
        """For the terminal; where it has no room for the columns in `width` characters, they become lines."""
        lines = [self.head, *self.rows]
        needed = sum(
            max(len(part) for line in lines for part in line[i].split(" (")) + 1 for i in range(len(self.head))
        )
        if width is not None and needed > width:
            head, *rows = zip(*lines, strict=True)
            return dataclasses.replace(self, head=head, rows=tuple(rows)).rich()
        notes = Text("\n".join(self.notes), style="dim")
        table = RichTable(
            title=self.title, caption=notes, caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for i, name in enumerate(self.head):
            heading = name.replace(" (", "\n(")
            table.add_column(heading, justify="left" if i == 0 else "right", overflow="fold", no_wrap=i == 0)
        for row in self.rows:
            table.add_row(*row)
        return table


def make_table(settings: dict[str, Any], results: Sequence[dict[str, Any]]) -> Table:
    """The table of a run: mean, and ± standard deviation where there are several seeds.

    Args:
      settings: of `config.json`: title, columns and rows.
      results: lines of `results.jsonl`.
    """
    columns = settings["columns"]
    head = ["row"]
    for name in columns:
        metric = METRICS[name]
        head.append(f"{metric.label} ({metric.unit})" if metric.unit else metric.label)
    rows = []
    for row in settings["rows"]:
        lines = [line["metrics"] for line in results if line["row"] == row]
        cells = [show(name, [line[name] for line in lines if name in line]) for name in columns]
        rows.append((row, *cells))
    return Table(settings["title"], tuple(head), tuple(rows), tuple(_notes(settings, results)))


def make_csv(settings: dict[str, Any], results: Sequence[dict[str, Any]]) -> str:
    """Every metric of every row and seed, unrounded, under its name in `results.jsonl`."""
    names = list(dict.fromkeys([*settings["columns"], *(name for line in results for name in line["metrics"])]))
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
