"""What formulas mean: equivalence and implication, decided over all integer `Tokens`.

A cell depends on the two segments, the key's prefix flag and the two positions. Segments enter through two facts
(is the key real, is it of the query's segment), of which three combinations exist. Position masks other than
`global_tokens` and `explicit` read the distance `query - key` alone, and beyond their widest bound they repeat with
the least common multiple of their steps; `global_tokens` and `explicit` add finitely many thresholds. So finitely
many cells stand for all. `random_blocks` and `by` are free variables: what holds for both their values holds.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from flaxmask.masks import formula, positions
from flaxmask.masks.formula import And, Full, Mask, Not, Or
from flaxmask.masks.positions import Window

Answer = Literal["unknown"] | bool

MOST_CELLS = 4_000_000
"""More cells than this are not searched: the answer is then "unknown"."""


def equivalent(a: Mask, b: Mask) -> Answer:
    """Whether two formulas see the same cells, whatever the (integer) `Tokens`.

    Returns:
      True or False where it is proved, "unknown" where the search would be too large, or where it hangs on a mask
      whose values are not a simple function of positions. Compare with `is True`: "unknown" counts as true in an `if`.
    """
    return _always(a, b, lambda x, y: x == y)


def implies(a: Mask, b: Mask) -> Answer:
    """Whether `b` sees every cell that `a` sees; see `equivalent`."""
    return _always(a, b, lambda x, y: ~x | y)


def simplify(mask: Mask) -> Mask:
    """See `Mask.simplify`: terms that the others imply are left out, from the inside outwards."""
    match mask:
        case Not(Not(term)):
            return simplify(term)
        case Not(term):
            mask = Not(simplify(term))
        case And(terms):
            mask = _reduced(And, terms)
        case Or(terms):
            mask = _reduced(Or, terms)
    for constant in (Full(), Not(Full())):
        if equivalent(mask, constant) is True:
            return constant
    return mask


def ceiling(mask: Mask, sees: bool = True) -> Mask:
    """The formula with every mask by content seeing all it could: what may flow, whatever the scores.

    With `sees=False` the least that it sees.
    """
    match mask:
        case formula.By():
            return Full() if sees else Not(Full())
        case Not(term):
            return Not(ceiling(term, not sees))
        case And(terms) | Or(terms):
            return type(mask)(tuple(ceiling(term, sees) for term in terms))
    return mask


def _reduced(kind: type[And] | type[Or], terms: tuple[Mask, ...]) -> Mask:
    """Drop each term without which the whole means the same."""
    kept = list(dict.fromkeys(_flat(kind, map(simplify, terms))))
    if kind is And:
        kept = _merged_windows(kept)
    whole = lambda parts: parts[0] if len(parts) == 1 else kind(tuple(parts))
    for term in list(reversed(kept)):
        rest = [other for other in kept if other is not term]
        if rest and equivalent(whole(rest), whole(kept)) is True:
            kept = rest
    return whole(kept)


def _flat(kind, terms) -> Iterator[Mask]:
    for term in terms:
        yield from term.terms if isinstance(term, kind) else (term,)


def _merged_windows(terms: list[Mask]) -> list[Mask]:
    """Windows that must all hold are one window."""
    windows = [term for term in terms if isinstance(term, Window)]
    if len(windows) < 2:
        return terms
    one = Window(min(w.left for w in windows), min(w.right for w in windows))
    return [one if term is windows[0] else term for term in terms if term is windows[0] or term not in windows]


def _always(a: Mask, b: Mask, relation) -> Answer:
    """Whether a relation between two formulas holds in every cell."""
    atoms = list(dict.fromkeys([*_atoms(a), *_atoms(b)]))
    free = [atom for atom in atoms if isinstance(atom, positions.RandomBlocks | formula.By)]
    cells = _positions([atom for atom in atoms if atom not in free])
    if cells is None or len(cells[0]) * 6 * 2 ** len(free) > MOST_CELLS:
        return "unknown"
    known: dict[Mask, Any] = {
        atom: atom.cells(*cells) for atom in atoms if isinstance(atom, positions.PositionMask) and atom not in free
    }
    for values in itertools.product([False, True], repeat=len(free)):
        for (real, same), prefix in itertools.product([(False, False), (True, False), (True, True)], [False, True]):
            fixed = {formula.Padding(): real, formula.Segment(): same, formula.Prefix(): prefix, Full(): True}
            fixed |= dict(zip(free, values, strict=True))
            truth = known | {atom: np.full(len(cells[0]), value) for atom, value in fixed.items()}
            if not relation(_value(a, truth), _value(b, truth)).all():
                return "unknown" if free else False
    return True


def _atoms(mask: Mask) -> Iterator[Mask]:
    match mask:
        case Not(term):
            yield from _atoms(term)
        case And(terms) | Or(terms):
            for term in terms:
                yield from _atoms(term)
        case _:
            yield mask


def _value(mask: Mask, truth: dict[Mask, np.ndarray]) -> np.ndarray:
    match mask:
        case Not(term):
            return ~_value(term, truth)
        case And(terms):
            return np.logical_and.reduce([_value(term, truth) for term in terms])
        case Or(terms):
            return np.logical_or.reduce([_value(term, truth) for term in terms])
    return truth[mask]


def _positions(atoms: list[Mask]) -> tuple[np.ndarray, np.ndarray] | None:
    """Query and key positions that stand for all of them; None if they are too many."""
    widest, period, thresholds = 0, 1, {0}
    for atom in atoms:
        match atom:
            case positions.Window(left, right):
                widest = max(widest, left, right)
            case positions.Strided(step):
                period = math.lcm(period, step)
            case positions.Dilated(width, step):
                widest, period = max(widest, width * step), math.lcm(period, step)
            case positions.GlobalTokens(count):
                thresholds.add(count)
            case positions.Explicit(rows, columns):
                widest = max(widest, rows, columns)
                thresholds |= set(range(max(rows, columns) + 1))
    reach = widest + period + 1
    if (2 * reach + 1) * 4 * len(thresholds) * 6 > MOST_CELLS:
        return None
    distances = np.arange(-reach, reach + 1)
    # A threshold t is passed by the query at t and by the key where the query is at t + distance.
    edges = np.array(sorted({edge - back for edge in thresholds for back in (0, 1)}))
    queries = np.concatenate([np.add.outer(0 * distances, edges), np.add.outer(distances, edges)], axis=1)
    keys = queries - distances[:, None]
    return queries.reshape(-1), keys.reshape(-1)
