"""Figures from results."""

import contextlib
import functools
import importlib.metadata
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flaxmask.files import write_figure
from flaxmask.reporting.metrics import METRICS

# Okabe & Ito's colours, told apart by the colour-blind; hatches tell them apart in print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++")
# Of maps: thousands of cells as paths would make an SVG of megabytes.
_CELLS: dict[str, Any] = {"cmap": "Blues", "vmin": 0, "linewidth": 0.2, "rasterized": True}


def style(how: dict[Any, Any]) -> Any:
    """Settings of what is drawn within. A name of a row is text, whatever dollars are in it."""
    settings: Any = how | {"text.parse_math": False, "font.family": _characters()[0]}
    return matplotlib.rc_context(settings)


def complete(line: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether a cell has a number for each of these metrics."""
    return all(math.isfinite(line["metrics"].get(name, math.nan)) for name in names)


def bars(rows: Sequence[str], results: Sequence[dict[str, Any]], names: Sequence[str]) -> Figure:
    """One panel a metric, one bar a row, a line for the deviation where there are several seeds."""
    has = lambda line, row: line["row"] == row and complete(line, names)
    rows = [row for row in rows if any(has(line, row) for line in results)]
    many = len(rows) > len(COLOURS)  # then names tell the rows apart, and colours would say nothing
    with style({"hatch.linewidth": 0.5, "font.size": 9}):
        names_width = 0.07 * max(map(len, rows))
        figure = Figure(
            figsize=(names_width + 2.6 * len(names), (0.25 if many else 0.5) * len(rows) + 1.2), layout="constrained"
        )
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            metric = METRICS[name]
            values = [[line["metrics"][name] * metric.scale for line in results if has(line, row)] for row in rows]
            means = [statistics.fmean(v) for v in values]
            spread = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values]
            drawn = axes.barh(
                rows,
                means,
                xerr=spread if any(spread) else None,
                color=COLOURS[0] if many else COLOURS[: len(rows)],
                edgecolor="black",
                linewidth=0.6,
            )
            for bar, hatch in zip(drawn, () if many else _HATCHES, strict=False):
                bar.set_hatch(hatch)
            axes.margins(y=0.02)
            axes.bar_label(drawn, [f"{mean:,.{metric.digits}f}" for mean in means], padding=3)
            axes.set_xlim(0, 1.35 * max(*means, 1e-9))
            axes.invert_yaxis()
            arrow = {"high": " → better", "low": " ← better", "neither": ""}[metric.better]
            axes.set_xlabel(f"{metric.label} ({metric.unit}){arrow}" if metric.unit else metric.label + arrow)
            axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            for axes in figure.axes[1:]:
                axes.set_yticklabels([])
    return figure


CURVES = (
    *("loss", "wer", "span_f1", "tokenised_bleu", "character_bleu"),
    *("training_loss", "per", "accuracy", "bleu", "chrf"),
)
"""Metrics that are drawn as curves, where they are known; at most `PANELS` of them."""
PANELS = 3
AXES = ("updates", "real_tokens", "seconds")
"""What learning is drawn against."""

Points = Mapping[tuple[str, int], Sequence[Mapping[str, float]]]
"""Of rows and seeds, the points of a learning curve."""


def shared(points: Points) -> tuple[list[str], list[str]]:
    """Metrics that all points know, as many as are drawn, and what they can be drawn against."""
    known = set[str]().union(*(point for of in points.values() for point in of))
    known = known.intersection(*(point for of in points.values() for point in of))
    return [name for name in CURVES if name in known][:PANELS], [name for name in AXES if name in known]


def curves(points: Points) -> Figure:
    """Metrics against updates, real tokens and seconds; a line a row, a band of one deviation over its seeds."""
    names, axes_names = shared(points)
    rows = list(dict.fromkeys(row for row, _ in points))
    with style({"font.size": 9}):
        figure = Figure(figsize=(3.1 * len(axes_names), 2.4 * len(names) + 0.5), layout="constrained")
        panels = figure.subplots(len(names), len(axes_names), squeeze=False, sharey="row")
        for line, name in zip(panels, names, strict=True):
            for axes, along in zip(line, axes_names, strict=True):
                for number, row in enumerate(rows):
                    _curve(axes, [of for (other, _), of in points.items() if other == row], along, name, number)
                axes.set_xlabel(_ALONG[along])
                axes.spines[["top", "right"]].set_visible(False)
            metric = METRICS[name]
            line[0].set_ylabel(f"{metric.label} ({metric.unit})" if metric.unit else metric.label)
        handles = panels[0][0].get_lines()
        figure.legend(
            handles,
            [legible(row, 60) for row in rows],
            loc="outside lower center",
            ncols=min(len(rows), 4),
            frameon=False,
        )
    return figure


_ALONG = {"updates": "updates", "real_tokens": "real tokens (M)", "seconds": "training (s)"}


def _curve(axes: Axes, seeds: Sequence[Sequence[Mapping[str, float]]], along: str, name: str, number: int):
    """Of one row: the mean over its seeds, as far as all of them go."""
    length = min(map(len, seeds))
    values = METRICS[name].scale * np.array([[point[name] for point in of[:length]] for of in seeds])
    x = np.array([[point[along] for point in of[:length]] for of in seeds]).mean(axis=0)
    x = x / 1e6 if along == "real_tokens" else x
    band(axes, x, values.mean(axis=0), values.std(axis=0, ddof=1) if len(seeds) > 1 else None, number)


def look(number: int) -> dict[str, Any]:
    """Of a row's points and line, by its place in the table."""
    colour, marker = COLOURS[number % len(COLOURS)], "osv^Dx+"[number % 7]
    return {"color": colour, "marker": marker, "linestyle": ("-", "--", ":")[number // len(COLOURS) % 3]}


def band(axes: Axes, x: np.ndarray, mean: np.ndarray, far: np.ndarray | None, number: int):
    """A row's line, with a band of `far` on either side."""
    axes.plot(x, mean, **look(number), markersize=3, linewidth=1.2)
    if far is not None:
        axes.fill_between(x, mean - far, mean + far, color=look(number)["color"], alpha=0.2, linewidth=0)


def lengths(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """For each row of the table what examples of each length cost: their tokens, and hatched what is wasted on them.

    Args:
      rows: of each, `data.loader.Plan.by_length`.
    """
    columns = 2 if len(rows) == 4 else min(3, len(rows))
    lines = -(-len(rows) // columns)
    with style({"hatch.linewidth": 0.4, "font.size": 9}):
        figure = Figure(figsize=(max(4.4, 3.0 * columns), 2.0 * lines + 0.9), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat
        # Rows first: of two iterators of unlike lengths, `zip` draws one more from the first.
        for (row, of), axes in zip(rows.items(), panels, strict=False):
            at, tokens, slots = (np.array(of[name], float) for name in ("length", "tokens", "slots"))
            drawn = {"width": 1.0, "align": "center"}
            axes.bar(at, tokens / 1e3, color=COLOURS[0], label="tokens", **drawn)
            axes.bar(
                *(at, (slots - tokens) / 1e3),
                bottom=tokens / 1e3,
                facecolor="#f3d9b1",
                edgecolor=COLOURS[1],
                linewidth=0.3,
                hatch="////",
                label="wasted",
                **drawn,
            )
            axes.set_title(f"{legible(row, 40)}: {1 - tokens.sum() / slots.sum():.0%} wasted", fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in list(panels):
            axes.set_visible(False)
        for axes in figure.axes[len(rows) - columns : len(rows)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("tokens of an example's longer side (0: empty rows)", fontsize=9)
        figure.supylabel("slots of an epoch (thousands)", fontsize=9)
        figure.axes[0].legend(frameon=False)
    return figure


PARTS = {("source", "source"): "encoder", ("target", "target"): "decoder", ("target", "source"): "cross"}
"""Which mask stands between two streams."""


def masks(rows: Mapping[str, Mapping[str, Any]], formulas: Mapping[str, Mapping[str, str]], most: int = 6) -> Figure:
    """What the masks let one example see, a column for each part of the model; what is the same in rows stands once.

    Args:
      rows: of the table, of each `attended.attended`.
      formulas: of each, by the part of the model.
      most: masks of a part that are drawn.
    """
    drawn: dict[str, dict[Any, list[str]]] = {part: {} for part in PARTS.values()}
    for row, found in rows.items():
        first = {PARTS[one["query"], one["key"]]: one["visible"][0] for one in reversed(found["maps"])}
        for part, seen in first.items():
            cells = tuple(map(tuple, seen))
            drawn[part].setdefault((formulas[row].get(part, "?"), cells), []).append(row)
    parts = {part: list(of.items())[:most] for part, of in drawn.items() if of}
    lines = max(map(len, parts.values()))
    with style({"font.size": 8}):
        figure = Figure(figsize=(3.0 * len(parts), 2.9 * lines), layout="constrained")
        for column, (part, of) in zip(figure.subplots(lines, len(parts), squeeze=False).T, parts.items(), strict=True):
            for axes in column[len(of) :]:
                axes.set_visible(False)
            for axes, ((formula, seen), whose) in zip(column, of, strict=False):
                axes.pcolormesh(np.array(seen), vmax=1.4, edgecolors="#bbbbbb", **_CELLS)
                axes.set(xlabel="key", ylabel="query", xticks=[], yticks=[], aspect="equal")
                axes.set_title(f"{_named(whose, 40)}, {part}:\n{legible(formula, 60)}", fontsize=8)
                axes.invert_yaxis()
    return figure


def _named(rows: Sequence[str], most: int) -> str:
    """Of rows that share a panel, all names or the first and how many more."""
    if len(", ".join(rows)) <= most:
        return legible(", ".join(rows), most)
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"{legible(rows[0], most - len(more))}{more}"


def heat_maps(rows: Mapping[str, Mapping[str, Any]], most: int = 6) -> Figure:
    """For each row of the table one attention of one example, its first head: tokens on the axes, hidden cells hatched.

    Args:
      rows: of each, `attended.attended`.
      most: rows that are drawn.
    """
    rows = dict(list(rows.items())[:most])
    columns = min(2, len(rows))
    lines = -(-len(rows) // columns)
    with style({"hatch.linewidth": 0.4, "font.size": 8}):
        figure = Figure(figsize=(4.6 * columns, 4.2 * lines), layout="constrained")
        panels = iter(figure.subplots(lines, columns, squeeze=False).flat)
        for (row, found), axes in zip(rows.items(), panels, strict=False):
            crossing = [one for one in found["maps"] if one["query"] != one["key"]]
            one = (crossing or found["maps"])[-1]
            weights, hidden = np.array(one["weights"][0][0]) / 1000, np.array(one["visible"][0]) == 0
            axes.pcolormesh(weights, vmax=1, edgecolors="#dddddd", **_CELLS)
            axes.add_collection(_hatched(hidden))
            for set_ticks, stream in ((axes.set_xticks, one["key"]), (axes.set_yticks, one["query"])):
                names = list(map(legible, found["rows"][0][stream]))
                size = min(8.0, 230 / len(names))  # the points that there are for each
                set_ticks(np.arange(len(names)) + 0.5, names, fontsize=size, rotation=90 * (stream == one["key"]))
            axes.tick_params(length=0)
            axes.set_title(f"{legible(row, 40)}: {legible(one['name'], 40)}", fontsize=9)
            axes.invert_yaxis()
        for axes in panels:
            axes.set_visible(False)
    return figure


FAMILIES = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK TC", "WenQuanYi Zen Hei", "PingFang SC")
"""That are asked for a character, in this order."""
FONT = ("cvttf-notosanscjk-regular", "cvttf_NotoSansCJK_Regular/NotoSansCJKtc-Regular.otf")
"""A package and its file: Noto Sans CJK (OFL), the extra `fonts`; nothing of it is imported."""


@functools.cache
def _characters() -> tuple[list[str], set[int]]:
    """Fonts that are installed, and the characters that one of them can draw."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        file = importlib.metadata.distribution(FONT[0]).locate_file(FONT[1])
        font_manager.fontManager.addfont(str(file))
    known = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    fonts = [name for name in FAMILIES if name in known]
    return fonts, {char for name in fonts for char in font_manager.get_font(known[name]).get_charmap()}


def legible(token: str, most: int = 24) -> str:
    """With a box for what no font has, and no longer than there is room for."""
    cut = token if len(token) <= most else f"{token[: most - 1]}…"
    return "".join(char if ord(char) in _characters()[1] else "□" for char in cut)


def _hatched(cells: np.ndarray) -> PatchCollection:
    """Cells that are True, a rectangle for each run of them in a line."""
    edges = np.diff(np.pad(cells.astype(int), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    boxes = [Rectangle((first, line), last - first, 1) for (line, first), (_, last) in zip(starts, ends, strict=True)]
    return PatchCollection(boxes, facecolor="none", edgecolor="#999999", linewidth=0.0, hatch="////")


def save(figure: Figure, path: Path):
    """As PNG, 200 dots an inch, and as SVG beside it, whose cells are such dots too; equal figures make equal bytes."""
    write_figure(path, figure, dpi=200)
    with style({"svg.hashsalt": "flaxmask", "svg.fonttype": "none"}):
        write_figure(path.with_suffix(".svg"), figure, dpi=200, metadata={"Date": None})
