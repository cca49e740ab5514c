"""Masks as formulas: who may attend to whom, said in terms of segments and positions.

A formula holds no shapes and no arrays; it is frozen, hashable and equal by form. This module does not import
jax: formulas stand in configurations, which are read and refused before jax starts. Calling one evaluates it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool

    from flaxmask.tokens import Array, Tokens


@dataclasses.dataclass(frozen=True, repr=False)
class Mask:
    """A formula over a query's `Tokens` and a key's. Combine with `&`, `|` and `~`."""

    def __call__(self, query: Tokens, key: Tokens) -> Bool[Array, "B 1 Q K"]:
        """Evaluate: True where the query may attend to the key; empty cache slots are never visible."""
        from flaxmask.masks.evaluate import evaluate

        return evaluate(self, query, key)

    def __and__(self, other: Mask) -> Mask:
        return _join(And, self, other)

    def __or__(self, other: Mask) -> Mask:
        return _join(Or, self, other)

    def __invert__(self) -> Mask:
        return Not(self)

    def __bool__(self):
        raise TypeError(f"the mask `{self}` has no truth value: combine masks with & | ~, not with and, or, not")

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        name = type(self).__name__.lower()
        arguments = [str(getattr(self, f.name)) for f in _shown_fields(self)]
        return f"{name}({', '.join(arguments)})" if dataclasses.fields(self) else name


def _shown_fields(mask: Mask):
    """The fields without the trailing ones that have their default."""
    fields = list(dataclasses.fields(mask))
    while fields and getattr(mask, fields[-1].name) == fields[-1].default:
        fields.pop()
    return fields


class Full(Mask):
    """Everybody sees everything.

    ■ ■ ■
    ■ ■ ■
    """


class Padding(Mask):
    """Keys that are real (segment > 0), whoever asks.

    ■ ■ ·
    ■ ■ ·
    """


class Causal(Mask):
    """Keys at the query's position or before it.

    ■ · ·
    ■ ■ ·
    ■ ■ ■
    """


class Segment(Mask):
    """Keys of the query's own segment; padding sees nothing and is seen by nobody.

    ■ ■ · ·
    ■ ■ · ·
    · · ■ ·
    · · · ·
    """


class Prefix(Mask):
    """Keys whose `prefix` flag is set; `segment & (causal | prefix)` is the mask of a prefix-LM.

    ■ ■ · ·
    ■ ■ · ·
    """


@dataclasses.dataclass(frozen=True, repr=False)
class Window(Mask):
    """Keys from position `q - left` to `q + right`, both inclusive. `window(1)`:

    ■ · · ·
    ■ ■ · ·
    · ■ ■ ·
    · · ■ ■
    """

    left: int
    right: int = 0

    def __post_init__(self):
        for side in ("left", "right"):
            value = getattr(self, side)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"window: {side}: expected an integer ≥ 0, got {value!r}")


@dataclasses.dataclass(frozen=True, repr=False)
class Not(Mask):
    """Where `term` is False."""

    term: Mask

    def __str__(self) -> str:
        return f"~{_inside(self.term, (And, Or))}"


@dataclasses.dataclass(frozen=True, repr=False)
class And(Mask):
    """Where all of `terms` are True."""

    terms: tuple[Mask, ...]

    def __str__(self) -> str:
        return " & ".join(_inside(term, (Or,)) for term in self.terms)


@dataclasses.dataclass(frozen=True, repr=False)
class Or(Mask):
    """Where any of `terms` is True."""

    terms: tuple[Mask, ...]

    def __str__(self) -> str:
        return " | ".join(str(term) for term in self.terms)


def _inside(term: Mask, weaker: tuple[type[Mask], ...]) -> str:
    """Print a term of a formula, in brackets where it binds less than what surrounds it."""
    return f"({term})" if isinstance(term, weaker) else str(term)


def _join(kind: type[And] | type[Or], left: Mask, right: Mask) -> Mask:
    """Join two formulas, taking the terms of one of the same kind as terms of the whole."""
    if not isinstance(right, Mask):
        return NotImplemented
    terms = [m.terms if isinstance(m, kind) else (m,) for m in (left, right)]
    return kind(terms[0] + terms[1])
