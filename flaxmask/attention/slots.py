"""Where slots may stand for positions: kernels know slots, formulas speak of positions.

Under `segment` a visible query and key stand in one example. Where the layout is "rows" their positions are their
slots; where it is "packed" the distance between their positions is that between their slots. So the rest of such a
formula may be read on slots, and nothing else may.
"""

from typing import Any, NamedTuple

from flaxmask.masks import And, Mask, Not, Or
from flaxmask.masks.formula import Full, Segment
from flaxmask.masks.positions import Causal, Dilated, PositionMask, Strided, Window
from flaxmask.tokens import Tokens

BY_DISTANCE = (Causal, Window, Strided, Dilated)


class BySlots(NamedTuple):
    """A formula that is `segment` and these terms, read on slots.

    Attributes:
      terms: what is left beside `segment`.
      interval: the terms as one range of `query - key`, from least to most (None: no limit), or None if they are
        no range.
    """

    terms: tuple[Mask, ...]
    interval: tuple[int | None, int | None] | None


def by_slots(mask: Mask, query: Tokens, key: Tokens) -> BySlots | None:
    """The formula on slots, or None where that would not be the same."""
    terms = mask.terms if isinstance(mask, And) else (mask,)
    rest = tuple(term for term in terms if not isinstance(term, Segment | Full))
    if not any(isinstance(term, Segment) for term in terms) or "any" in (query.layout, key.layout):
        return None
    kinds = PositionMask if query.layout == "rows" else BY_DISTANCE
    # Distances between slots are those of positions only where both are counted in one row of tokens.
    if rest and not (query is key and all(_reads(term, kinds) for term in rest)):
        return None
    return BySlots(rest, _interval(rest))


def _reads(mask: Mask, kinds: Any) -> bool:
    """Whether a formula is made of nothing but these kinds."""
    match mask:
        case Not(term):
            return _reads(term, kinds)
        case And(terms) | Or(terms):
            return all(_reads(term, kinds) for term in terms)
    return isinstance(mask, kinds)


def _interval(terms: tuple[Mask, ...]) -> tuple[int | None, int | None] | None:
    least, most = None, None
    for term in terms:
        match term:
            case Causal():
                low, high = 0, None
            case Window(left, right):
                low, high = -right, left
            case _:
                return None
        least = low if least is None else max(least, low)
        most = high if most is None else most if high is None else min(most, high)
    return least, most


def cells(mask: Mask, query: Any, key: Any) -> Any:
    """A formula of positions on NumPy arrays that broadcast."""
    match mask:
        case Not(term):
            return ~cells(term, query, key)
        case And(terms) | Or(terms):
            seen = cells(terms[0], query, key)
            for term in terms[1:]:
                other = cells(term, query, key)
                seen = seen & other if isinstance(mask, And) else seen | other
            return seen
        case PositionMask():
            return mask.cells(query, key)
    raise TypeError(f"mask: {mask} does not read positions alone")
