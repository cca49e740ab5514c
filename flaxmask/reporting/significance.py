"""Whether two rows of a table differ, how small a difference could have been seen, and whether they are equivalent."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Num
from scipy import stats

from flaxmask.evaluation.scores import ADDITIVE, SCORES

LEVEL, POWER = 0.05, 0.8
"""Of the tests; and how often the smallest difference that is printed would have been seen."""

DRAWS = 2000
"""Of a randomisation or a bootstrap: the smallest p-value is one over one more."""

Counts = Num[np.ndarray, "N C"]
"""What a corpus score counts in each example, see `evaluation.scores`."""


class Difference(NamedTuple):
    """Ours less theirs.

    Attributes:
      value: in the metric's unit.
      p: of no difference, two-sided.
      error: the standard error of the value.
      freedom: degrees of freedom of the error; infinite of many examples.
    """

    value: float
    p: float
    error: float
    freedom: float = math.inf

    def smallest(self, tests: int = 1) -> float:
        """The difference that is seen with probability `POWER` where the level is shared by so many tests."""
        normal = stats.t(self.freedom) if math.isfinite(self.freedom) else stats.norm
        return float(self.error * (normal.ppf(1 - LEVEL / (2 * tests)) + normal.ppf(POWER)))


def of_examples(name: str, ours: Counts, theirs: Counts) -> Difference:
    """Of two rows on the same examples, with training as it went.

    A score that is a ratio of sums is tested by approximate randomisation (Noreen 1989): each example's answers
    change sides or not. BLEU and chrF, whose parts belong together, by paired bootstrap (Koehn 2004): the share of
    draws that stray from their mean by as much as the difference is (Riezler & Maxwell 2005).

    Args:
      name: of the metric.
      ours: of each example.
      theirs: of the same examples.

    Raises:
      ValueError: other examples.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"theirs: expected {list(ours.shape)} counts, got {list(theirs.shape)}")
    score = SCORES[name]
    score_of = lambda sums: score(np.asarray(sums, float))
    both = ours.sum(axis=0, keepdims=True), theirs.sum(axis=0, keepdims=True)
    value = float((score_of(both[0]) - score_of(both[1]))[0])
    if name in ADDITIVE or name == "span_f1":
        total, half = both[0] + both[1], _signs(len(ours)) @ (ours - theirs).astype(float)
        drawn = score_of((total + half) / 2) - score_of((total - half) / 2)
    else:
        weights = _weights(len(ours))
        drawn = score_of(weights @ ours.astype(float)) - score_of(weights @ theirs.astype(float))
        drawn = drawn - drawn.mean()
    # Sums in another order may differ by rounding.
    strays = np.abs(drawn) >= abs(value) * (1 - 1e-9)
    return Difference(value, float((strays.sum() + 1) / (DRAWS + 1)), float(drawn.std()))


@functools.lru_cache(maxsize=4)
def _signs(examples: int) -> np.ndarray:
    """`[draws, examples]`: who changes sides; always the same."""
    return np.random.default_rng(0).integers(0, 2, (DRAWS, examples)).astype(np.float32) * 2 - 1


@functools.lru_cache(maxsize=4)
def _weights(examples: int) -> np.ndarray:
    """`[draws, examples]`: how often each is drawn; always the same."""
    return np.random.default_rng(0).multinomial(examples, np.full(examples, 1 / examples), DRAWS).astype(np.float32)


def of_seeds(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Of two rows over the same seeds, by Student's paired t-test: what training anew would say.

    >>> of_seeds([3.0, 4.0, 5.1], [1.0, 2.0, 3.0]).p < 0.01
    True

    Raises:
      ValueError: fewer than 2 seeds, or other ones.
    """
    differences = np.array([a - b for a, b in zip(ours, theirs, strict=True)])
    count = len(differences)
    if count < 2:
        raise ValueError(f"ours: expected at least 2 seeds, got {count}")
    value, error = float(differences.mean()), float(differences.std(ddof=1) / math.sqrt(count))
    if error == 0.0:
        return Difference(value, 1.0 if value == 0.0 else 0.0, 0.0, count - 1)
    p = 2 * stats.t(count - 1).sf(abs(value) / error)
    return Difference(value, float(p), error, count - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for their number (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    factors = len(p_values) - np.arange(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values, float)[order]), 1.0)
    return adjusted.tolist()


Cells = Mapping[int, tuple[float, Counts | None]]
"""Of a row and a metric: for each seed its value, and what is counted of it in each example where that is known."""


def compare(name: str, ours: Cells, theirs: Cells) -> list[Difference]:
    """All tests that two rows allow: of examples, of all seeds together; and over seeds, where there are several."""
    seeds = [seed for seed in ours if seed in theirs]
    found = []
    counts = [(ours[seed][1], theirs[seed][1]) for seed in seeds]
    known = [(a, b) for a, b in counts if a is not None and b is not None and a.shape == b.shape]
    if known and len(known) == len(seeds):
        # The same example of another seed is no other example: they are drawn together.
        found.append(of_examples(name, *(np.sum(side, axis=0) for side in zip(*known, strict=True))))
    if len(seeds) > 1:
        found.append(of_seeds(*([cells[seed][0] for seed in seeds] for cells in (ours, theirs))))
    return found


class Marked(NamedTuple):
    """What the tests say of a table.

    Attributes:
      best: for each metric, the row that is better than every other one, if there is such a row.
      smallest: for each tested metric, the smallest difference that could have been seen between any two rows.
      tests: how many there are.
    """

    best: dict[str, str]
    smallest: dict[str, float]
    tests: int


def mark(columns: Mapping[str, Mapping[str, Cells]], better: Mapping[str, str]) -> Marked:
    """The best row of each metric, where tests against all others, corrected for all tests of the table, say so.

    A difference must show itself in the examples and over the seeds, where both are known.

    Args:
      columns: for each metric, rows and their cells; those that compete.
      better: for each metric "high" or "low".
    """
    tested: dict[str, tuple[str, list[list[Difference]]]] = {}
    for name, rows in columns.items():
        mean = {row: np.mean([value for value, _ in cells.values()]) for row, cells in rows.items() if cells}
        if len(mean) < 2:
            continue
        best = (max if better[name] == "high" else min)(mean, key=lambda row: mean[row])
        found = [compare(name, rows[best], rows[row]) for row in mean if row != best]
        if all(found):
            tested[name] = (best, found)
    p_values = [max(one.p for one in both) for _, found in tested.values() for both in found]
    owner = [name for name, (_, found) in tested.items() for _ in found]
    open_ = {name for name, p in zip(owner, holm(p_values), strict=True) if p > LEVEL}
    return Marked(
        {name: best for name, (best, _) in tested.items() if name not in open_},
        {
            name: max(one.smallest(len(p_values)) for both in found for one in both)
            for name, (_, found) in tested.items()
        },
        len(p_values),
    )


def equivalence(differences: Sequence[float], margin: float) -> float:
    """The p-value of two one-sided t-tests (Schuirmann 1987) that a mean difference lies within ± `margin`.

    Small values show equivalence.

    >>> equivalence([0.0] * 200, 0.02)
    0.0

    Args:
      differences: paired, in the scores' unit: of examples, or of seeds.
      margin: in the same unit.

    Raises:
      ValueError: fewer than 2.
    """
    if len(differences) < 2:
        raise ValueError(f"differences: expected at least 2, got {len(differences)}")
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    nearest = margin - abs(mean)
    if error == 0.0:
        return 0.0 if nearest > 0 else 1.0
    return float(stats.t(len(differences) - 1).sf(nearest / error))
