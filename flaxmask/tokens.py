"""What stands where in a batch: `Tokens` for one side of it, `Batch` for an example's parts together."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray
"""Batches are built by NumPy and computed on by jax; signatures take either."""

Layout = Literal["any", "rows", "packed"]

PADDING = 0
"""Segment of a padding slot."""

EMPTY = -1
"""Segment of a cache slot that nothing was written to: no formula makes it visible."""


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Ids with the two facts that masks are made of: whose they are, and where they stand in it.

    Attributes:
      ids: int32 `[B, T]`.
      segments: int32 `[B, T]`; 1, 2, … number the examples of a row, 0 is padding, -1 an empty cache slot.
      positions: int32 `[B, T]`; counts from 0 in every segment. Never meaningful on padding.
      prefix: bool `[B, T]`, True on the keys that everybody of the segment may see in a prefix-LM;
        None flags no key.
      layout: a static promise about the arrays, which `check` verifies on concrete ones:
        "rows" is one segment a row from slot 0, positions 0, 1, 2, …, padding only at the end;
        "packed" is segments 1, 2, … contiguous, positions 0, 1, 2, … in each, padding only at the end;
        "any" promises nothing.

    Raises:
      ValueError: an array has the wrong rank, shape or dtype, or the layout is unknown.
    """

    ids: Any
    segments: Any
    positions: Any
    prefix: Any = None
    layout: Layout = "any"

    def __post_init__(self):
        if self.layout not in get_args(Layout):
            raise ValueError(f"layout: expected one of {', '.join(get_args(Layout))}, got {self.layout!r}")
        shape = np.shape(self.ids)
        arrays = {"ids": self.ids, "segments": self.segments, "positions": self.positions}
        if self.prefix is not None:
            arrays["prefix"] = self.prefix
        for name, array in arrays.items():
            wanted = np.bool_ if name == "prefix" else np.int32
            found = getattr(array, "dtype", type(array).__name__)
            if np.shape(array) != shape or len(shape) != 2 or found != wanted:
                expected = f"{np.dtype(wanted).name}{list(shape) if len(shape) == 2 else '[B, T]'}"
                raise ValueError(f"Tokens.{name}: expected {expected}, got {found}{list(np.shape(array))}")

    @classmethod
    def of(cls, ids, pad_id: int = 0, layout: Layout = "any") -> Tokens:
        """One segment per row: everything that is not `pad_id`, numbered from 0, wherever it stands.

        >>> Tokens.of(np.array([[7, 8, 9, 0], [0, 0, 7, 8]])).positions.tolist()
        [[0, 1, 2, 3], [0, 0, 0, 1]]

        Args:
          ids: integers `[B, T]`.
          pad_id: the id of padding.
          layout: the promise to record; "rows" where padding stands only at the end.
        """
        xp = jnp if isinstance(ids, jax.Array) else np
        ids = xp.asarray(ids)
        if ids.ndim != 2 or not xp.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"Tokens.of: ids: expected integers [B, T], got {ids.dtype}{list(ids.shape)}")
        real = ids != pad_id
        slots = xp.arange(ids.shape[1])
        last = xp.max(xp.where(real, slots, -1), axis=1, keepdims=True)
        # Trailing padding counts on, so that in "rows" the positions are the slots.
        positions = xp.cumsum(real, axis=1) - 1 + xp.maximum(slots - last, 0)
        positions = xp.maximum(positions, 0)
        ids, segments, positions = (x.astype(np.int32) for x in (ids, real, positions))
        return cls(ids, segments, positions, None, layout)

    @property
    def shape(self) -> tuple[int, int]:
        """`(B, T)`."""
        return self.ids.shape

    @property
    def real(self):
        """Bool `[B, T]`: True where a token stands, False on padding and on empty slots."""
        return self.segments > PADDING

    def slots(self, which: slice) -> Tokens:
        """Some slots of every row, which promise nothing."""
        prefix = None if self.prefix is None else self.prefix[:, which]
        return Tokens(self.ids[:, which], self.segments[:, which], self.positions[:, which], prefix)

    def check(self) -> Tokens:
        """Return these tokens if their arrays keep the promise of `layout`; needs concrete arrays.

        Raises:
          ValueError: naming the first row and slot at which the promise is broken.
        """
        segments, positions = np.asarray(self.segments), np.asarray(self.positions)
        if self.layout == "any":
            return self
        real = segments > PADDING
        before = np.pad(segments, ((0, 0), (1, 0)))[:, :-1]
        starts = real & (segments != before)
        slots = np.broadcast_to(np.arange(segments.shape[1]), segments.shape)
        first = np.maximum.accumulate(np.where(starts, slots, 0), axis=1)
        gap = np.zeros_like(real)
        gap[:, 1:] = real[:, 1:] & ~real[:, :-1]
        faults = [
            (segments < PADDING, "an empty slot"),
            (gap | (real & ~real[:, :1]), "a token after padding"),
            (real & (positions != slots - first), "a position that does not count 0, 1, 2, … in its segment"),
            (real & (segments < before), "segments that do not rise"),
        ]
        if self.layout == "rows":
            faults.append((starts & (slots > 0), "a second segment"))
        for where, what in faults:
            if where.any():
                row, slot = np.argwhere(where)[0]
                raise ValueError(f'layout="{self.layout}" is broken at row {row}, slot {slot}: {what}')
        return self

    @classmethod
    def empty(cls, batch: int, length: int) -> Tokens:
        """Slots of a cache before anything was written: visible to nobody, whatever the formula."""
        zeros = jnp.zeros((batch, length), jnp.int32)
        return cls(zeros, zeros + EMPTY, zeros, zeros > 0, "any")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Examples laid out for one update. A task without a part leaves it None.

    Attributes:
      source: the encoder's `Tokens` `[B, S]`.
      target: the decoder's input as `Tokens` `[B, T]`.
      labels: int32 `[B, T]`, what is to be predicted at each slot.
      weights: float32 `[B, T]`, the weight of each label in the loss; 0 on padding.
      examples: int32 `[B, T]`, the id of the example that a slot belongs to; -1 on padding.
    """

    source: Any = None
    target: Any = None
    labels: Any = None
    weights: Any = None
    examples: Any = None


def _register(cls, static: tuple[str, ...] = ()):
    """Make a pytree of a dataclass whose leaves may be anything (shardings, shapes), so skip its checks."""
    names = tuple(f.name for f in dataclasses.fields(cls) if f.name not in static)

    def flatten(x):
        leaves = tuple((jax.tree_util.GetAttrKey(n), getattr(x, n)) for n in names)
        return leaves, tuple(getattr(x, n) for n in static)

    def unflatten(aux, leaves):
        new = object.__new__(cls)
        for name, value in (*zip(names, leaves, strict=True), *zip(static, aux, strict=True)):
            object.__setattr__(new, name, value)
        return new

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)


_register(Tokens, static=("layout",))
_register(Batch)
