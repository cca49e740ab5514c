"""Figures from results."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from flaxmask.reporting.metrics import METRICS

# Okabe & Ito's colours, told apart by the colour-blind; hatches tell them apart in print.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++")


def bars(rows: Sequence[str], results: Sequence[dict[str, Any]], names: Sequence[str]) -> Figure:
    """One panel a metric, one bar a row, a line for the deviation where there are several seeds."""
    has = lambda line, row: (
        line["row"] == row and all(name in line["metrics"] and math.isfinite(line["metrics"][name]) for name in names)
    )
    rows = [row for row in rows if any(has(line, row) for line in results)]
    many = len(rows) > len(_COLOURS)  # then names tell the rows apart, and colours would say nothing
    with matplotlib.rc_context({"hatch.linewidth": 0.5, "font.size": 9}):
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
                color=_COLOURS[0] if many else _COLOURS[: len(rows)],
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


CURVES = ("training_loss", "loss", "wer", "bleu", "accuracy")
"""Metrics that are drawn over the updates, where a learning curve has them."""


def curves(points: Mapping[tuple[str, int], Sequence[Mapping[str, float]]]) -> Figure:
    """One panel a metric, one line a row and seed, over the updates."""
    names = [name for name in CURVES if all(name in point for of in points.values() for point in of)]
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(3.2 * len(names), 3.0), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            metric = METRICS[name]
            for number, ((row, seed), of) in enumerate(points.items()):
                values = [point[name] * metric.scale for point in of]
                colour, marker = _COLOURS[number % len(_COLOURS)], "osv^Dx+"[number % 7]
                steps = [point["updates"] for point in of]
                axes.plot(steps, values, color=colour, marker=marker, markersize=3, label=f"{row}, seed {seed}")
            axes.set_xlabel("updates")
            axes.set_ylabel(f"{metric.label} ({metric.unit})" if metric.unit else metric.label)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].legend(frameon=False)
    return figure


def save(figure: Figure, path: Path):
    """As PNG, 200 dots an inch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)
