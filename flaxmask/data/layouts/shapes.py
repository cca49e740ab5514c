"""The few shapes that batches take, so that a step is compiled few times."""

import math
from collections.abc import Sequence

import numpy as np


def round_up(number: float, multiple: int) -> int:
    """The least multiple that is not less than `number`."""
    return math.ceil(number / multiple) * multiple


WORTH = 0.01
"""Share of all slots that one more shape must save: below it, compiling the shape costs more."""


def choose_shapes(lengths: np.ndarray, most: int) -> list[tuple[int, int]]:
    """At most `most` pairs of source and target lengths, greedily: each next one saves the most slots.

    The largest holds every example. Sides are taken from at most 48 quantiles, so the search stays small.
    """
    sides = [np.unique(np.quantile(side, np.linspace(0, 1, 48), method="higher")) for side in lengths.T]
    # A length counts as the first quantile that holds it, so the search does not grow with the data.
    held = np.stack(
        [side[np.searchsorted(side, column)] for side, column in zip(sides, lengths.T, strict=True)], axis=1
    )
    cells, counts = np.unique(held, axis=0, return_counts=True)
    candidates = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    holds = np.all(cells[:, None] <= candidates[None], axis=-1)
    slots = candidates.sum(axis=1)
    chosen = [int(slots.argmax())]
    cost = np.full(len(cells), slots.max())
    while len(chosen) < most:
        total = (counts[:, None] * np.where(holds, np.minimum(cost[:, None], slots), cost[:, None])).sum(axis=0)
        best = int(total.argmin())
        if total[best] > (1.0 - WORTH) * (counts * cost).sum():
            break
        chosen.append(best)
        cost = np.where(holds[:, best], np.minimum(cost, slots[best]), cost)
    return sorted((int(s), int(t)) for s, t in candidates[chosen])


def smallest_fit(lengths: np.ndarray, sides: Sequence[tuple[int, int]]) -> np.ndarray:
    """The cheapest of `sides` that holds each example, as int `[examples]`.

    Raises:
      ValueError: an example that fits into none.
    """
    slots = np.array(sides).sum(axis=1)
    holds = np.all(lengths[:, None, :] <= np.array(sides)[None], axis=-1)
    if not np.any(holds, axis=1).all():
        example = int(np.any(holds, axis=1).argmin())
        raise ValueError(f"example {example}: lengths {lengths[example].tolist()} fit into none of {list(sides)}")
    return np.where(holds, slots, slots.max() + 1).argmin(axis=1)
