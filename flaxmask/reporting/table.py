"""A table as Markdown, LaTeX and in the terminal, from the same cells."""

import dataclasses
import math
import re
import statistics
from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from flaxmask.reporting.metrics import METRICS

LINE = 50
"""Characters of a table that may be wider than a line of LaTeX's `article`."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Text cells with a head, and notes under them.

    Attributes:
      title: what the table answers.
      head: names of the columns, the row's name first.
      rows: cells as text.
      notes: one line each: what every figure rests on.
      bold: row and column of the cells that stand out.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()

    def marked(self, plain: Callable[[str], str], bold: Callable[[str], str]) -> list[list[str]]:
        """The rows' cells, each as one of both writes it."""
        return [
            [(bold if (r, c) in self.bold else plain)(cell) for c, cell in enumerate(row)]
            for r, row in enumerate(self.rows)
        ]

    def markdown(self) -> str:
        """GitHub's Markdown."""
        plain = lambda cell: _no_tags(cell).replace("|", "\\|")
        rule = ["---" if i == 0 else "---:" for i in range(len(self.head))]
        lines = [list(map(plain, self.head)), rule, *self.marked(plain, lambda cell: f"**{plain(cell)}**")]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        notes = "\n".join(f"- {_no_tags(note)}" for note in self.notes)
        return f"# {_no_tags(self.title)}\n\n{table}\n\n{notes}\n"

    def _repr_markdown_(self) -> str:
        """For notebooks."""
        return self.markdown()

    def latex(self) -> str:
        """A `tabular` for the package booktabs, with the notes as comments; graphicx fits a wide one to the line."""
        line = lambda cells: " & ".join(cells) + r" \\"
        body = "\n".join(map(line, self.marked(_latex, lambda cell: f"\\textbf{{{_latex(cell)}}}")))
        notes = "\n".join(f"% {_visible(note)}" for note in (self.title, *self.notes))
        columns = "l" + "r" * (len(self.head) - 1)
        table = (
            f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(map(_latex, self.head))}\n\\midrule\n{body}\n"
            "\\bottomrule\n\\end{tabular}"
        )
        if _width(list(zip(self.head, *self.rows, strict=True))) > LINE:
            table = f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{table}}}"
        return f"{notes}\n{table}\n"

    def rich(self, width: int | None = None) -> RichTable:
        """For the terminal; turned on its side where it has no room in `width` characters and needs less that way."""
        lines = [self.head, *self.rows]
        if width is not None and width < _needed(lines) > _needed(turned := list(zip(*lines, strict=True))):
            bold = frozenset((column - 1, row + 1) for row, column in self.bold)
            return dataclasses.replace(self, head=turned[0], rows=tuple(turned[1:]), bold=bold).rich()
        notes = Text("\n".join(map(_visible, self.notes)), style="dim")
        shown = lambda text: escape(_visible(text))
        table = RichTable(
            title=shown(self.title), caption=notes, caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for i, name in enumerate(self.head):
            heading = shown(name).replace(" (", "\n(").replace(", ", "\n")
            table.add_column(heading, justify="left" if i == 0 else "right", overflow="fold", no_wrap=i == 0)
        for row in self.marked(shown, lambda cell: f"[bold]{shown(cell)}[/bold]"):
            table.add_row(*row)
        return table


def _visible(text: str) -> str:
    r"""With what a terminal would obey, or would end a comment of LaTeX's, written out.

    >>> _visible("a\x1b]0;b\n")
    'a\\x1b]0;b\\n'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _no_tags(text: str) -> str:
    """Without tags of HTML, which Markdown would let through, in one line.

    >>> _no_tags("p < 0.05 <script>")
    'p < 0.05 &lt;script>'
    """
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", _visible(text))


def _needed(lines: Sequence[Sequence[str]]) -> int:
    """Characters that columns take where a unit stands under its name."""
    return _width([[part for cell in column for part in cell.split(" (")] for column in zip(*lines, strict=True)])


def _width(columns: Sequence[Sequence[str]]) -> int:
    """Characters that columns take, with one between them."""
    return sum(max(map(len, column)) + 1 for column in columns)


def heading(name: str) -> str:
    """Of a metric's column."""
    metric = METRICS[name]
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


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


_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%_#${}"}
    | {
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "±": r"$\pm$", "×": r"$\times$", "−": "$-$"},
        **{"→": r"$\rightarrow$", "∞": r"$\infty$", "≤": r"$\le$", "≥": r"$\ge$", "√": r"$\surd$", "·": r"$\cdot$"},
    }
)


def _latex(text: str) -> str:
    r"""Text with LaTeX's special characters, and those that pdfLaTeX has no letter for, as commands; powers as such.

    >>> _latex("1.2e-06 ± 1e+02"), _latex("-1e9 added")
    ('$1.2 \\times 10^{-6}$ $\\pm$ $10^{2}$', '$-10^{9}$ added')
    """
    return _POWER.sub(_power, text.translate(_LATEX))


_POWER = re.compile(r"(?<![\w.])(-?)(\d+(?:\.\d+)?)e([+-]?\d{1,4})\b")


def _power(found: re.Match[str]) -> str:
    factor = "" if found[2] == "1" else rf"{found[2]} \times "
    return f"${found[1]}{factor}10^{{{int(found[3])}}}$"
