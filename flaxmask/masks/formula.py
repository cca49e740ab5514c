"""Masks as formulas: who may attend to whom, said in terms of segments and positions.

A formula holds no shapes and no arrays; it is frozen, hashable and equal by form. This module does not import
jax: formulas stand in configurations, which are read and refused before jax starts. Calling one evaluates it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from flaxmask.tokens import Array, Tokens


MOST = 2**30
"""Bounds and positions up to here: sums and differences of two of them fit into int32."""


@dataclasses.dataclass(frozen=True, repr=False)
class Mask:
    """A formula over a query's `Tokens` and a key's. Combine with `&`, `|` and `~`."""

    def __call__(self, query: Tokens, key: Tokens) -> Bool[Array, "B 1 Q K"]:
        """Evaluate: True where the query may attend to the key; empty cache slots are never visible."""
        from flaxmask.masks.evaluate import evaluate

        return evaluate(self, query, key)

    def blocks(self, query: Tokens, key: Tokens, block_q: int, block_k: int) -> Int[Array, "B 1 nq nk"]:
        """What is proved of each block of cells: 0 all hidden, 2 all visible, 1 neither.

        The last block of either side counts the cells that exist. Costs `Q / block_q × K / block_k`, not `Q × K`.
        """
        from flaxmask.masks.blocks import block_map

        return block_map(self, query, key, block_q, block_k)

    def simplify(self) -> Mask:
        """A formula of the same meaning with no term that could be left out."""
        from flaxmask.masks.meaning import simplify

        return simplify(self)

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
        arguments = [str(getattr(self, f.name)) for f in _shown_fields(self)]
        return f"{self.name()}({', '.join(arguments)})" if dataclasses.fields(self) else self.name()

    @classmethod
    def name(cls) -> str:
        """As it is printed and parsed: the class in snake case."""
        return re.sub("(?<!^)([A-Z])", r"_\1", cls.__name__).lower()


def _shown_fields(mask: Mask):
    """The fields without the trailing ones that have their default."""
    fields = list(dataclasses.fields(mask))
    while fields and getattr(mask, fields[-1].name) == fields[-1].default:
        fields.pop()
    return fields


def check_integers(mask: Mask, least: int):
    """Raise unless every field is an integer of at least `least`."""
    for field in dataclasses.fields(mask):
        value = getattr(mask, field.name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{mask.name()}: {field.name}: expected an integer ≥ {least}, got {value!r}")
        if value > MOST:
            raise ValueError(f"{mask.name()}: {field.name}: expected at most 2**30, got {value!r}")


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
class By(Mask):
    """A mask that depends on content: `by(fn)`, made by decorating `fn` with `masks.content`.

    `fn(scores, query, key)` gets the scores `[B, N, Q, K]` before any mask and the two `Tokens`, and gives bool
    `[B, 1, Q, K]` or `[B, N, Q, K]`. Implementations that never hold all scores refuse it. Drawn and evaluated with
    the scores at hand. Printed by the function's name, under which `parse` finds it again.
    """

    function: Callable

    def __str__(self) -> str:
        return f"by({self.function.__name__})"


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
    return join(kind, (left, right)) if isinstance(right, Mask) else NotImplemented


def join(kind: type[And] | type[Or], masks: Iterable[Mask]) -> Mask:
    """Join formulas, taking the terms of one of the same kind as terms of the whole."""
    return kind(tuple(term for mask in masks for term in (mask.terms if isinstance(mask, kind) else (mask,))))
