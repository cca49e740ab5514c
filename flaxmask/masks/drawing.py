"""Masks as pictures: text for docstrings and tests, a figure for pages."""

from typing import TYPE_CHECKING

import numpy as np

from flaxmask.masks.formula import Mask
from flaxmask.tokens import Array, Tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(mask: Mask, query: Tokens, key: Tokens, scores: Array | None = None, row: int = 0, head: int = 0) -> str:
    """A line for each query, ■ where it sees the key and · where not.

    >>> from flaxmask import masks
    >>> tokens = Tokens.of(np.array([[5, 6, 7, 0]]))
    >>> print(draw(masks.causal & masks.segment, tokens, tokens))
    ■ · · ·
    ■ ■ · ·
    ■ ■ ■ ·
    · · · ·

    Args:
      mask: the formula.
      query: `[B, Q]`.
      key: `[B, K]`.
      scores: what a mask by content reads.
      row: of the batch.
      head: for a mask by content that differs between heads.
    """
    return "\n".join(
        " ".join("■" if cell else "·" for cell in line) for line in _cells(mask, query, key, scores, row, head)
    )


def figure(
    mask: Mask, query: Tokens, key: Tokens, scores: Array | None = None, row: int = 0, head: int = 0
) -> "Figure":
    """The same as a matplotlib figure, segments told apart by lines between them."""
    from matplotlib.figure import Figure

    cells = _cells(mask, query, key, scores, row, head)
    drawn = Figure(figsize=(1.2 + 0.16 * cells.shape[1], 1.0 + 0.16 * cells.shape[0]), layout="constrained")
    axes = drawn.subplots()
    axes.pcolormesh(cells, cmap="Blues", vmin=0, vmax=1.4, edgecolors="#bbbbbb", linewidth=0.4)
    for tokens, line in ((query, axes.axhline), (key, axes.axvline)):
        segments = np.asarray(tokens.segments)[row]
        for slot in np.flatnonzero(np.diff(segments)):
            line(float(slot + 1), color="#D55E00", linewidth=1.2)
    axes.set(xlabel="key", ylabel="query", title=str(mask), aspect="equal", xticks=[], yticks=[])
    axes.title.set_fontsize(9)
    axes.invert_yaxis()
    return drawn


def _cells(mask: Mask, query: Tokens, key: Tokens, scores: Array | None, row: int, head: int) -> np.ndarray:
    """Bool `[Q, K]` of one row of the batch and one head."""
    from flaxmask.masks.evaluate import evaluate

    seen = np.asarray(evaluate(mask, query, key, scores))[row]
    return seen[head if len(seen) > 1 else 0]
