"""Figures of quality: by the length of what is read, and against what it costs."""

import itertools
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flaxmask.evaluation.scores import SCORES
from flaxmask.reporting.figures import band, complete, legible, look, style
from flaxmask.reporting.metrics import METRICS

BY_LENGTH = ("tokenised_bleu", "character_bleu", "bleu", "per", "wer", "accuracy")
"""Scores that are drawn by length: the first of these that a table shows."""
BINS, LEAST = 8, 30
"""Most bins of lengths, and the fewest examples in one where there are several."""
DRAWS = 200
"""Of a bin's examples anew, where one seed says nothing of the spread."""


def by_length(rows: Mapping[str, Sequence[Mapping[str, np.ndarray]]], name: str, longest: int | None = None) -> Figure:
    """A score by the length of the examples: a line a row, and a band.

    The band is one deviation over the seeds; of one seed, over its examples drawn anew.

    Args:
      rows: of each, for each seed what is counted in each example, and their lengths as "length" `[N, 1]`.
      name: of the score.
      longest: what was trained on; a line marks it.
    """
    lengths = np.sort(np.concatenate([of["length"][:, 0] for seeds in rows.values() for of in seeds[:1]]))
    edges = bins(lengths, longest, len(rows))
    with style({"font.size": 9}):
        columns = _columns(rows)
        figure = Figure(figsize=(6.4, 3.6 + 0.2 * -(-len(rows) // columns)), layout="constrained")
        axes = figure.subplots()
        for number, seeds in enumerate(rows.values()):
            points = [_of_bins(of, name, edges) for of in seeds]
            x, values, spread = (np.array(part) for part in zip(*points, strict=True))
            far = values.std(axis=0, ddof=1) if len(seeds) > 1 else spread[0]
            band(axes, x[0], values.mean(axis=0), far, number)
        metric = METRICS[name]
        axes.set_ylabel(f"{metric.label} ({metric.unit})")
        axes.set_xlabel("tokens of an example's longer side")
        axes.spines[["top", "right"]].set_visible(False)
        handles = axes.get_lines()
        if longest is not None:
            axes.axvline(longest + 0.5, color="black", linestyle=":", linewidth=1)
            axes.text(longest + 0.6, 1.0, "longer than trained", transform=axes.get_xaxis_transform(), va="top")
        named = [legible(row, 60) for row in rows]
        figure.legend(handles[: len(rows)], named, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _columns(rows: Collection[str]) -> int:
    """Of a legend, so that the longest name has room."""
    return max(1, min(3, len(rows), 90 // (max(map(len, rows)) + 8)))


def bins(lengths: np.ndarray, longest: int | None = None, copies: int = 1) -> np.ndarray:
    """Edges of bins of about as many examples each; none goes across `longest`.

    >>> bins(np.repeat(np.arange(1, 5), 100)).tolist()
    [1, 2, 3, 4, 5]

    Args:
      lengths: of all examples, in order.
      longest: an edge that is wanted.
      copies: how often each example is among them.
    """
    parts = [lengths] if longest is None else [lengths[lengths <= longest], lengths[lengths > longest]]
    edges = {int(lengths[-1]) + 1}
    for part in parts:
        if len(part):
            count = int(np.clip(len(part) / copies // LEAST, 1, BINS))
            edges |= {int(part[len(part) * i // count]) for i in range(count)}
    return np.array(sorted(edges))


def _of_bins(
    of: Mapping[str, np.ndarray], name: str, edges: np.ndarray
) -> tuple[list[float], list[float], list[float]]:
    """Mean length, score and its deviation over draws, of each bin that holds an example."""
    lengths, found = of["length"][:, 0], []
    for low, high in itertools.pairwise(edges):
        inside = (low <= lengths) & (lengths < high)
        counts = of[name][inside].astype(float)
        if len(counts):
            weights = np.random.default_rng(0).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), DRAWS)
            score = SCORES[name](counts.sum(axis=0, keepdims=True))[0]
            found.append((lengths[inside].mean(), float(score), float(SCORES[name](weights @ counts).std())))
    x, values, spread = zip(*found, strict=True)
    return list(x), list(values), list(spread)


def front(rows: Sequence[str], results: Sequence[dict[str, Any]], cost: str, quality: str) -> Figure:
    """Rows as points, with the deviation over seeds; the line joins those that no other row beats in both (Pareto).

    Args:
      rows: of a table.
      results: its lines.
      cost: a metric.
      quality: another one.
    """
    points = {}
    for row in rows:
        own = [line["metrics"] for line in results if line["row"] == row and complete(line, (cost, quality))]
        if own:
            points[row] = [[METRICS[name].scale * metrics[name] for metrics in own] for name in (cost, quality)]
    means = {row: tuple(map(statistics.fmean, both)) for row, both in points.items()}
    best = unbeaten(means, METRICS[cost].better == "high", METRICS[quality].better == "high")
    with style({"font.size": 9}):
        columns = _columns(points)
        figure = Figure(figsize=(6.4, 4.0 + 0.2 * -(-len(points) // columns)), layout="constrained")
        axes = figure.subplots()
        for number, (row, (x, y)) in enumerate(points.items()):
            far = lambda values: statistics.stdev(values) if len(values) > 1 else 0.0
            # Beyond seven rows looks come again: a number tells the points apart.
            drawn = look(number) | {"linestyle": "none", "label": f"{number + 1}  {legible(row, 60)}"}
            axes.errorbar(*means[row], xerr=far(x), yerr=far(y), markersize=5, linewidth=1, **drawn)
            axes.annotate(
                str(number + 1), (means[row][0], means[row][1]), xytext=(4, 4), textcoords="offset points", fontsize=8
            )
        axes.plot(*zip(*(means[row] for row in best), strict=True), color="#999999", linewidth=1, zorder=0)
        for name, set_label in ((cost, axes.set_xlabel), (quality, axes.set_ylabel)):
            metric = METRICS[name]
            arrow = {"high": " → better", "low": " ← better", "neither": ""}[metric.better]
            set_label(f"{metric.label} ({metric.unit}){arrow}" if metric.unit else metric.label + arrow)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    return figure


def unbeaten(points: Mapping[str, tuple[float, ...]], *high: bool) -> list[str]:
    """Rows of which no other is at least as good in everything and better in something, in the order of the first.

    >>> unbeaten({"a": (1.0, 5.0), "b": (2.0, 9.0), "c": (3.0, 8.0)}, False, True)
    ['a', 'b']
    """
    signed = {row: [x if up else -x for x, up in zip(of, high, strict=True)] for row, of in points.items()}
    beats = lambda a, b: all(x >= y for x, y in zip(a, b, strict=True)) and a != b
    best = [row for row, of in signed.items() if not any(beats(other, of) for other in signed.values())]
    return sorted(best, key=lambda row: points[row])
