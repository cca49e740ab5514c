"""Masks as formulas: who may attend to whom, said in terms of segments and positions.

A formula holds no shapes and no arrays; it is frozen, hashable and equal by form. This module does not import
jax: formulas stand in configurations, which are read and refused before jax starts. Calling one evaluates it.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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


def _check_integers(mask: Mask, least: int):
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
class PositionMask(Mask):
    """A mask that reads positions alone."""

    def cells(self, query: Any, key: Any) -> Any:
        """Visible or not, of positions that broadcast; NumPy's or jax's, by operators alone."""
        raise NotImplementedError


class Causal(PositionMask):
    """Keys at the query's position or before it.

    ■ · ·
    ■ ■ ·
    ■ ■ ■
    """

    def cells(self, query: Any, key: Any) -> Any:
        """`key ≤ query`."""
        return query >= key


@dataclasses.dataclass(frozen=True, repr=False)
class Window(PositionMask):
    """Keys from position `q - left` to `q + right`, both inclusive (Beltagy et al. 2020). `window(1)`:

    ■ · · ·
    ■ ■ · ·
    · ■ ■ ·
    · · ■ ■
    """

    left: int
    right: int = 0

    def __post_init__(self):
        _check_integers(self, least=0)

    def cells(self, query: Any, key: Any) -> Any:
        """`query - left ≤ key ≤ query + right`."""
        return (query - key <= self.left) & (key - query <= self.right)


@dataclasses.dataclass(frozen=True, repr=False)
class Strided(PositionMask):
    """Keys a multiple of `step` away (Child et al. 2019). `strided(2)`:

    ■ · ■ ·
    · ■ · ■
    ■ · ■ ·
    · ■ · ■
    """

    step: int

    def __post_init__(self):
        _check_integers(self, least=1)

    def cells(self, query: Any, key: Any) -> Any:
        """`(query - key) mod step = 0`."""
        return (query - key) % self.step == 0


@dataclasses.dataclass(frozen=True, repr=False)
class Dilated(PositionMask):
    """`width` keys on either side and the query's own, `step` apart (Beltagy et al. 2020). `dilated(1, 2)`:

    ■ · ■ ·
    · ■ · ■
    ■ · ■ ·
    · ■ · ■
    """

    width: int
    step: int

    def __post_init__(self):
        _check_integers(self, least=0)
        if self.step < 1:
            raise ValueError(f"dilated: step: expected an integer ≥ 1, got {self.step!r}")

    def cells(self, query: Any, key: Any) -> Any:
        """`|query - key| ≤ width · step`, and divisible by `step`."""
        distance = abs(query - key)
        return (distance <= self.width * self.step) & (distance % self.step == 0)


@dataclasses.dataclass(frozen=True, repr=False)
class GlobalTokens(PositionMask):
    """The first `count` positions see everybody and are seen by everybody (Beltagy et al. 2020). `global_tokens(1)`:

    ■ ■ ■ ■
    ■ · · ·
    ■ · · ·
    ■ · · ·
    """

    count: int

    def __post_init__(self):
        _check_integers(self, least=0)

    def cells(self, query: Any, key: Any) -> Any:
        """`query < count` or `key < count`."""
        return (query < self.count) | (key < self.count)


@dataclasses.dataclass(frozen=True, repr=False)
class RandomBlocks(PositionMask):
    """Blocks of `size` positions joined at random, in both directions, after BigBird (Zaheer et al. 2020).

    A formula knows no length, so each block draws `count` times among the blocks up to its own, by a hash of the
    seed; an edge counts both ways. Negative positions see nothing.
    """

    size: int
    count: int
    seed: int = 0

    def __post_init__(self):
        _check_integers(self, least=0)
        if self.size < 1:
            raise ValueError(f"random_blocks: size: expected an integer ≥ 1, got {self.size!r}")

    def cells(self, query: Any, key: Any) -> Any:
        """Whether one of the later block's draws is the earlier one."""
        xp = (query + key).__array_namespace__()
        query, key = xp.broadcast_arrays(query // self.size, key // self.size)
        later, earlier = xp.maximum(query, key), xp.minimum(query, key)
        drawn = earlier != earlier
        for number in range(self.count):
            start = xp.asarray((self.seed * 0x9E3779B9 + number * 0x85EBCA6B + 1) % 2**32, dtype=xp.uint32)
            draw = _mixed(_mixed(later.astype(xp.uint32) ^ start, xp), xp) % (xp.maximum(later, 0) + 1).astype(
                xp.uint32
            )
            drawn = drawn | (draw.astype(earlier.dtype) == earlier)
        return drawn & (earlier >= 0)


def _mixed(bits: Any, xp: Any) -> Any:
    """32 bits well mixed (the finalizer `lowbias32` of C. Wellons)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = (bits ^ (bits >> xp.asarray(shift, dtype=xp.uint32))) * xp.asarray(factor, dtype=xp.uint32)
    return bits ^ (bits >> xp.asarray(16, dtype=xp.uint32))


@dataclasses.dataclass(frozen=True, repr=False)
class Explicit(PositionMask):
    """The way out: a table indexed by the query's position and the key's; nothing outside of it.

    Made by `explicit(array)`; hashed, compared and printed by its bits.
    """

    rows: int
    columns: int
    bits: bytes

    @classmethod
    def of(cls, array: Any) -> Explicit:
        """From a NumPy boolean array `[queries, keys]`."""
        import numpy as np

        if not isinstance(array, np.ndarray) or array.dtype != np.bool_ or array.ndim != 2:
            found = f"{array.dtype}{list(array.shape)}" if hasattr(array, "shape") else type(array).__name__
            raise ValueError(f"explicit: expected a NumPy array of bool[queries, keys], got {found}")
        return cls(array.shape[0], array.shape[1], np.packbits(array).tobytes())

    @classmethod
    def read(cls, text: str) -> Explicit:
        """From what `str` prints between its brackets."""
        size, _, code = text.partition(":")
        rows, columns = map(int, size.split("x"))
        bits = base64.b64decode(code, validate=True)
        if len(bits) != -(-rows * columns // 8):
            raise ValueError(f"explicit: expected {-(-rows * columns // 8)} bytes for {size}, got {len(bits)}")
        return cls(rows, columns, bits)

    def __str__(self) -> str:
        return f"explicit({self.rows}x{self.columns}:{base64.b64encode(self.bits).decode()})"

    @property
    def array(self) -> Any:
        """The table, NumPy bool `[queries, keys]`."""
        import numpy as np

        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.rows * self.columns)
        return bits.reshape(self.rows, self.columns).astype(bool)

    def cells(self, query: Any, key: Any) -> Any:
        """`table[query, key]`, False outside."""
        xp = (query + key).__array_namespace__()
        inside = (query >= 0) & (query < self.rows) & (key >= 0) & (key < self.columns)
        if not self.rows * self.columns:
            return inside
        table = xp.asarray(self.array.reshape(-1))
        return inside & table[xp.where(inside, query * self.columns + key, 0)]


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
    """Join two formulas, taking the terms of one of the same kind as terms of the whole."""
    if not isinstance(right, Mask):
        return NotImplemented
    terms = [m.terms if isinstance(m, kind) else (m,) for m in (left, right)]
    return kind(terms[0] + terms[1])
