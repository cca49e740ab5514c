"""What an audit found: as text, as JSON, as a figure."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 12
"""Findings of a kind that the text names; the rest are counted."""


class Leak(NamedTuple):
    """An input position that moved an output position which may not see it.

    `layer` is the first in which that input shows itself in the output's row where it may not.
    """

    input: str
    output_row: int
    output_position: int
    input_row: int
    input_position: int
    layer: str | None = None

    def __str__(self) -> str:
        row = "" if self.input_row == self.output_row else f" of row {self.input_row}"
        layer = "" if self.layer is None else f", first in {self.layer}"
        return (
            f"row {self.output_row}, output {self.output_position} reads {self.input} {self.input_position}{row}{layer}"
        )


class Dead(NamedTuple):
    """An input position that never moved an output position which may see it."""

    input: str
    row: int
    output_position: int
    input_position: int

    def __str__(self) -> str:
        return f"row {self.row}, output {self.output_position} never moved with {self.input} {self.input_position}"


@dataclasses.dataclass(frozen=True)
class AuditReport:
    """Declared flow against measured flow.

    Attributes:
      leaks: moved and not declared.
      dead: declared and never moved: information, not failure (weights that underflow, a long recurrence).
      nan: output rows and positions that are NaN, as given or after a replacement: nothing is proved of them.
      declared: for each input, bool `[B, T_out, T_in]`.
      measured: likewise, what moved within a row.
      tried: replacements tried at every input position.
      padding: bool `[B, T_out]`: outputs at padding, which the text marks and counts apart.
    """

    leaks: tuple[Leak, ...]
    dead: tuple[Dead, ...]
    nan: tuple[tuple[int, int], ...]
    declared: dict[str, np.ndarray]
    measured: dict[str, np.ndarray]
    tried: int
    padding: np.ndarray

    @property
    def ok(self) -> bool:
        """Whether nothing leaked, and everything could be compared."""
        return not self.leaks and not self.nan

    @property
    def layers(self) -> dict[str, int]:
        """Leaks by the layer in which they first appear, where that is known."""
        return dict(Counter(leak.layer for leak in self.leaks if leak.layer is not None))

    def __str__(self) -> str:
        leaks = self._marked([(leak.output_row, leak.output_position) for leak in self.leaks], self.leaks)
        dead = self._marked([(dead.row, dead.output_position) for dead in self.dead], self.dead)
        nan = self._marked(self.nan, [f"row {row}, output {position}" for row, position in self.nan])
        counts = f"{_count(leaks, 'leaks')}, {_count(dead, 'dead edges')}, {_count(nan, 'outputs NaN')}"
        verdict = "obeys what it declares" if self.ok else "does not obey what it declares"
        edges = sum(int(x.sum()) for x in self.declared.values())
        lines = [f"audit: {verdict}: {counts} ({edges:,} edges declared, {self.tried} replacements a position)"]
        return "\n".join([*lines, *_named("leak", leaks), *_named("NaN", nan), *_named("dead", dead)])

    def _marked(self, outputs: Sequence[tuple[int, int]], found: Sequence[Any]) -> list[tuple[str, bool]]:
        """What was found of outputs, as text, and whether it is of padding; that comes last."""
        padded = [bool(self.padding[output]) for output in outputs]
        return sorted(zip(map(str, found), padded, strict=True), key=lambda one: one[1])

    def to_json(self) -> str:
        """Findings by name, and the verdict."""
        found: dict[str, Any] = {
            "ok": self.ok,
            "leaks": [leak._asdict() for leak in self.leaks],
            "dead": [dead._asdict() for dead in self.dead],
            "nan": [{"row": row, "position": position} for row, position in self.nan],
            "tried": self.tried,
        }
        return json.dumps(found)

    def figure(self, row: int = 0) -> "Figure":
        """Of one row of the batch: for each input, what is declared beside what moved, leaks in red."""
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
        from matplotlib.ticker import MaxNLocator

        names = {"nothing": "#f4f4f4", "declared, moved": "#4477AA", "declared, dead": "#BBCCEE", "leak": "#CC3311"}
        colors = ListedColormap(list(names.values()))
        drawn = Figure(figsize=(7.4, 3.1 * len(self.declared) + 0.5), layout="constrained")
        panels = drawn.subplots(len(self.declared), 2, squeeze=False)
        for (left, right), (name, declared) in zip(panels, self.declared.items(), strict=True):
            may, moved = declared[row], self.measured[name][row]
            found = np.where(may, np.where(moved, 1, 2), np.where(moved, 3, 0))
            for axes, cells, title in ((left, may * 1, "declared"), (right, found, "measured")):
                edges = (np.arange(n + 1) - 0.5 for n in cells.shape[::-1])
                axes.pcolormesh(*edges, cells, cmap=colors, vmin=-0.5, vmax=3.5, edgecolors="white", linewidth=0.3)
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_major_locator(MaxNLocator(integer=True, nbins=8))
                axes.set(xlabel=f"{name} position", ylabel="output position", title=f"{title}: {name}", aspect="equal")
                axes.invert_yaxis()
        drawn.legend(
            handles=[Patch(facecolor=color, label=label) for label, color in list(names.items())[1:]],
            loc="outside lower center",
            ncols=3,
            frameon=False,
        )
        return drawn


def _count(found: Sequence[tuple[str, bool]], what: str) -> str:
    padded = sum(at_padding for _, at_padding in found)
    return f"{len(found):,} {what}{f' ({padded:,} at padding)' if padded else ''}"


def _named(kind: str, found: Sequence[tuple[str, bool]]) -> list[str]:
    lines = [f"  {kind}: {text}{' (padding)' if at_padding else ''}" for text, at_padding in found[:SHOWN]]
    more = len(found) - SHOWN
    return lines + ([f"  and {more:,} more of this kind"] if more > 0 else [])
