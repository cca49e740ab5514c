"""A ledger of claims: of each a row that tests it, a measure with its interval, and a verdict that follows from them.

Verdicts: *confirmed*; *no effect*, which an equivalence test must show; *refuted*; *ill-posed*, of what cannot be asked
as it stands; and *open*, where the test saw neither a difference nor that there is none.
"""

import dataclasses
import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from scipy import stats

from flaxmask.names import Refused
from flaxmask.reporting import counts, results
from flaxmask.reporting.metrics import METRICS
from flaxmask.reporting.significance import LEVEL, POWER, Cells, Difference, compare

Verdict = Literal["confirmed", "no effect", "refuted", "ill-posed", "open", "left out"]
TIMING = 0.15
"""The share by which times of one run may differ by chance; see `benchmarks.guard`."""


class Found(NamedTuple):
    """What a test says.

    Attributes:
      verdict: the word.
      measure: what was measured, with its interval.
      smallest: the smallest effect that the test could have seen; "any" where figures follow from the configuration.
    """

    verdict: Verdict
    measure: str
    smallest: str


class Table(NamedTuple):
    """A run's lines, with what its scores count in each example where that was kept.

    Attributes:
      name: of its folder.
      lines: of `results.jsonl`.
      counted: for each row and seed.
    """

    name: str
    lines: Sequence[Mapping]
    counted: Mapping[tuple[str, int], Mapping[str, np.ndarray]]

    @classmethod
    def read(cls, folder: Path) -> "Table":
        """Of a folder of published results."""
        lines = results.read(folder)
        kept = {(line["row"], line["seed"]): results.Kept(folder, line["row"], line["seed"]) for line in lines}
        return cls(folder.name, lines, {cell: counts.read(files.counts) for cell, files in kept.items()})

    def cells(self, row: str, metric: str) -> Cells:
        """Of each seed the value, and its counts.

        Raises:
          Refused: there is no such row or metric.
        """
        found = {
            line["seed"]: (line["metrics"][metric], self.counted.get((row, line["seed"]), {}).get(metric))
            for line in self.lines
            if line["row"] == row and metric in line["metrics"]
        }
        if not found:
            raise Refused(f"{self.name}: no row {row!r} with {metric!r}")
        return found

    def values(self, row: str, metric: str) -> np.ndarray:
        """Of each seed."""
        return np.array([value for value, _ in self.cells(row, metric).values()])


class Question(Protocol):
    """A question that a table answers."""

    @property
    def rows(self) -> tuple[str, ...]:
        """That it looks at."""
        ...

    def __call__(self, table: Table) -> Found:
        """The answer."""
        ...


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two rows and a metric.

    Attributes:
      row: that the claim is about.
      than: the other.
      metric: whose direction METRICS gives.
      margin: differences up to this are no effect, in the metric's shown unit.
    """

    row: str
    than: str
    metric: str
    margin: float

    @property
    def rows(self) -> tuple[str, ...]:
        """See `Question`."""
        return self.row, self.than

    def differences(self, table: Table) -> list[Difference]:
        """By every test that both allow, of examples and over seeds."""
        found = compare(self.metric, table.cells(self.row, self.metric), table.cells(self.than, self.metric))
        if not found:
            raise Refused(f"{table.name}: {self.metric}: neither several seeds nor counts of examples to test by")
        return found

    def within(self, tests: Sequence[Difference]) -> bool:
        """Whether two one-sided tests show each difference to be smaller than the margin."""
        margin = self.margin / METRICS[self.metric].scale
        if any(one.error == 0.0 and one.value != 0.0 for one in tests):
            return all(abs(one.value) < margin for one in tests)
        return all(abs(one.value) + _normal(one).ppf(1 - LEVEL) * one.error < margin for one in tests)

    def is_better(self, tests: Sequence[Difference]) -> bool:
        """Whether the difference is in the row's favour."""
        return (tests[0].value > 0) == (METRICS[self.metric].better == "high")

    def found(self, verdict: Verdict, tests: Sequence[Difference]) -> Found:
        """With the wider of the 95 % intervals, and the smallest difference that all tests would have seen."""
        shown = METRICS[self.metric]
        widest = max(tests, key=lambda one: _normal(one).ppf(1 - LEVEL / 2) * one.error)
        far = float(_normal(widest).ppf(1 - LEVEL / 2)) * widest.error
        digits = shown.digits + 1
        of = lambda value: f"{value * shown.scale:+.{digits}f}"
        interval = f"{of(widest.value)} [{of(widest.value - far)}, {of(widest.value + far)}]"
        said = f"{shown.label} ({shown.unit}), {self.row} less {self.than}: {interval}; margin {self.margin:g}"
        return Found(verdict, said, f"{max(one.smallest() for one in tests) * shown.scale:.{digits}f} {shown.unit}")


@dataclasses.dataclass(frozen=True)
class Better(Pair):
    """Whether a row is better than another."""

    def __call__(self, table: Table) -> Found:
        """See `Question`."""
        tests = self.differences(table)
        if self.within(tests):
            return self.found("no effect", tests)
        if max(one.p for one in tests) >= LEVEL:
            return self.found("open", tests)
        return self.found("confirmed" if self.is_better(tests) else "refuted", tests)


@dataclasses.dataclass(frozen=True)
class Level(Pair):
    """Whether a row is as good as another, or better: refuted where it is worse beyond doubt, and not by so little."""

    def __call__(self, table: Table) -> Found:
        """See `Question`."""
        tests = self.differences(table)
        if self.within(tests):
            return self.found("confirmed", tests)
        if max(one.p for one in tests) >= LEVEL:
            return self.found("open", tests)
        return self.found("confirmed" if self.is_better(tests) else "refuted", tests)


@dataclasses.dataclass(frozen=True)
class Steadier(Pair):
    """Whether a row's values spread less over seeds than another's: the ratio of variances, by Fisher's F.

    Deviations whose ratio lies between 1/margin and margin are no effect.
    """

    margin: float = 1.25

    def __call__(self, table: Table) -> Found:
        """See `Question`."""
        ours, theirs = table.values(self.row, self.metric), table.values(self.than, self.metric)
        f = stats.f(len(ours) - 1, len(theirs) - 1)
        ratio = float(np.std(ours, ddof=1) / np.std(theirs, ddof=1))
        low, high = (ratio / math.sqrt(f.ppf(p)) for p in (1 - LEVEL / 2, LEVEL / 2))
        verdict: Verdict = "open"
        if 1 / self.margin < low and high < self.margin:
            verdict = "no effect"
        elif high < 1 or low > 1:
            verdict = "confirmed" if high < 1 else "refuted"
        label = METRICS[self.metric].label
        said = f"deviation of {label}, {self.row} over {self.than}: {ratio:.2f} [{low:.2f}, {high:.2f}]"
        return Found(verdict, said, f"a ratio of {math.sqrt(f.ppf(1 - LEVEL / 2) * f.ppf(POWER)):.1f}")


@dataclasses.dataclass(frozen=True)
class Above:
    """Whether a row's mean over seeds lies above a number, by Student's t.

    Attributes:
      row: of the table.
      metric: of it.
      bound: the number, in the metric's own unit.
    """

    row: str
    metric: str
    bound: float

    @property
    def rows(self) -> tuple[str, ...]:
        """See `Question`."""
        return (self.row,)

    def __call__(self, table: Table) -> Found:
        """See `Question`."""
        values = table.values(self.row, self.metric)
        error, t = float(values.std(ddof=1) / math.sqrt(len(values))), stats.t(len(values) - 1)
        far = float(t.ppf(1 - LEVEL / 2)) * error
        mean = float(values.mean())
        verdict: Verdict = "open"
        if abs(mean - self.bound) > far:
            verdict = "confirmed" if mean > self.bound else "refuted"
        name = f"{METRICS[self.metric].label}, {METRICS[self.metric].unit}"
        said = f"{self.row}: {name} {mean:.3f} [{mean - far:.3f}, {mean + far:.3f}], asked: more than {self.bound:g}"
        one = Difference(mean - self.bound, 0.0, error, len(values) - 1)
        return Found(verdict, said, f"{one.smallest():.3f}")


_RELATIONS = {"<": operator.lt, ">": operator.gt, "=": operator.eq}


@dataclasses.dataclass(frozen=True)
class Fact:
    """A figure that follows from the configuration and the seed alone, against a number or another row's.

    Of a time, which differs from run to run, the other's must be `TIMING` apart.

    Attributes:
      row: of the table.
      metric: of it.
      relation: that is claimed: "<", ">" or "=".
      to: a number, in the metric's own unit; or a row.
    """

    row: str
    metric: str
    relation: Literal["<", ">", "="]
    to: float | str

    @property
    def rows(self) -> tuple[str, ...]:
        """See `Question`."""
        return (self.row, self.to) if isinstance(self.to, str) else (self.row,)

    def __call__(self, table: Table) -> Found:
        """See `Question`."""
        metric = METRICS[self.metric]
        ours = float(table.values(self.row, self.metric).mean())
        theirs = float(table.values(self.to, self.metric).mean()) if isinstance(self.to, str) else self.to
        near = ours == theirs or (metric.measured and abs(math.log(ours / theirs)) < math.log1p(TIMING))
        if _RELATIONS[self.relation](ours, theirs) and not (near and self.relation != "="):
            verdict: Verdict = "confirmed"
        else:
            verdict = "no effect" if near and isinstance(self.to, str) else "refuted"
        beside = f"{self.to}: {_figure(self.metric, theirs)}" if isinstance(self.to, str) else ""
        asked = "" if beside else f", asked: {self.relation} {self.to:g}"
        said = f"{metric.label}, {self.row}: {_figure(self.metric, ours)}{asked}{beside and '; ' + beside}"
        return Found(verdict, said, f"{TIMING:.0%}, one run" if metric.measured else "any")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a source says, and how it is tested.

    Attributes:
      id: short, of one letter and a number.
      source: its file.
      says: the claim, in our words.
      experiment: the folder of published results.
      test: of it; None where there is none, and `reason` says why.
      reason: why it is ill-posed, or has no row.
      ill_posed: whether it cannot be asked as it stands.
    """

    id: str
    source: str
    says: str
    experiment: str = ""
    test: Question | None = None
    reason: str = ""
    ill_posed: bool = False

    def found(self, tables: Mapping[str, Table]) -> Found:
        """What its test says; of a claim without a row, the reason."""
        if self.test is None:
            return Found("ill-posed" if self.ill_posed else "left out", self.reason, "–")
        return self.test(tables[self.experiment])


def read(claims: Sequence[Claim], published: Path) -> dict[str, Table]:
    """The tables that claims ask for."""
    return {name: Table.read(published / name) for name in dict.fromkeys(c.experiment for c in claims) if name}


def markdown(claims: Sequence[Claim], tables: Mapping[str, Table]) -> str:
    """A table of all claims, and how many there are of each verdict."""
    found = {claim.id: claim.found(tables) for claim in claims}
    lines = [
        "| id | source | claim | experiment: rows | measure | verdict | smallest effect to be seen |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for claim in claims:
        rows = "; ".join(claim.test.rows) if claim.test else ""
        where = f"[`{claim.experiment}`](../results/published/{claim.experiment}/table.md): {rows}" if rows else "–"
        verdict, measure, smallest = found[claim.id]
        cells = (claim.id, claim.source, claim.says, where, measure, f"**{verdict}**", smallest)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    verdicts = [one.verdict for one in found.values()]
    counted = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    return f"{len(claims)} claims: {counted}.\n\n" + "\n".join(lines) + "\n"


def _normal(one: Difference):
    return stats.t(one.freedom) if math.isfinite(one.freedom) else stats.norm


def _figure(metric: str, value: float) -> str:
    shown = METRICS[metric]
    number = f"{value:.1e}" if shown.scientific else f"{value * shown.scale:,.{shown.digits}f}"
    return f"{number} {shown.unit}".strip()
