"""Masks that read positions alone: causal, local, strided, global, random, and tables."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

from flaxmask.masks.formula import Mask, check_integers


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
        check_integers(self, least=0)

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
        check_integers(self, least=1)

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
        check_integers(self, least=0)
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
        check_integers(self, least=0)

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
        check_integers(self, least=0)
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
