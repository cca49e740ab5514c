"""Calls of a function of ids with and without edits, in equal slots of one program."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TRIED = 3
"""Replacements tried at each position."""

AT_ONCE = 2**25
"""Elements of outputs that are held at once."""


class Edit(NamedTuple):
    """Ids replaced: in `rows` (bool `[B]`) of the inputs `names`, at one position or (None) at all."""

    names: tuple[str, ...]
    rows: np.ndarray
    position: int | None
    which: int


class Comparison:
    """Calls with edits beside calls without, many at a time, in equal slots of one program."""

    def __init__(
        self,
        fn: Callable[..., Any],
        ids: dict[str, np.ndarray],
        like: Mapping[str, Any],
        swaps: dict[str, np.ndarray],
        size: int,
        most: int,
    ):
        self.fn, self.ids, self.like, self.swaps = fn, ids, like, swaps
        self.nan: Any = False
        self.width = max(1, min(128, most, AT_ONCE // max(size, 1)))
        self.together, self.plain = True, None

    def __call__(self, edits: list[Edit]) -> Iterator[tuple[Edit, Any]]:
        """Each edit with what it moved: of an array `[B, T, ...]` bool `[B, T]`, of a tree a tree."""
        if self.plain is None:
            self.plain = self._call([self.ids] * self.width)
        for start in range(0, len(edits), self.width):
            some = edits[start : start + self.width]
            filled = some + [some[-1]] * (self.width - len(some) if self.together else 0)
            changed = self._call([self._edited(edit) for edit in filled])
            if isinstance(changed, np.ndarray):
                self.nan = self.nan | at_positions(np.isnan(changed), 3).any(axis=0)
            moved = jax.tree.map(lambda x, y: at_positions(~same(x, y[: len(x)]), 3), changed, self.plain)
            for slot, edit in enumerate(some):
                yield edit, jax.tree.map(lambda x, slot=slot: x[slot], moved)

    def _edited(self, edit: Edit) -> dict[str, np.ndarray]:
        ids = dict(self.ids)
        for name in edit.names:
            here = np.zeros(ids[name].shape, bool)
            here[edit.rows, slice(None) if edit.position is None else edit.position] = True
            ids[name] = np.where(here, self.swaps[name][edit.which], ids[name])
        return ids

    def _call(self, many: list[dict[str, np.ndarray]]) -> Any:
        """Outputs of many inputs, stacked."""
        if self.together and len(many) > 1:
            try:
                stacked = jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *many)
                return jax.tree.map(outputs, jax.vmap(lambda ids: self.fn(**ids))(stacked))
            except Exception:
                # Whatever a function that is not jax's makes of a tracer. Its own faults come again below.
                self.together = False
        called = many[:1] if many[0] is self.ids else many
        try:
            each = [jax.tree.map(outputs, self.fn(**handed(ids, self.like))) for ids in called]
        except Exception as error:
            if called[0] is self.ids:
                raise
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise ValueError(
                f"vocabulary: fn fails with ids of it ({said}): is it larger than the embedding?"
            ) from error
        stacked = jax.tree.map(lambda *x: np.stack(x), *each)
        return jax.tree.map(lambda x: np.broadcast_to(x, (len(many), *x.shape[1:])), stacked)


def at_positions(cells: np.ndarray, kept: int) -> Any:
    """Whether any cell is true behind the first `kept` axes."""
    return cells.any(axis=tuple(range(kept, cells.ndim)))


def handed(ids: Mapping[str, np.ndarray], like: Mapping[str, Any]) -> dict[str, Any]:
    """Ids as `fn` gets them: of the kind that was given, and its own to write to."""
    return {name: jnp.asarray(x) if isinstance(like[name], jax.Array) else np.array(x) for name, x in ids.items()}


def outputs(out: Any) -> np.ndarray:
    """NumPy, with bfloat16 widened."""
    if isinstance(out, tuple | Mapping):
        raise ValueError(f"fn: expected one array, floats [B, T_out, ...], got a {type(out).__name__} of {len(out)}")
    found = np.asarray(out)
    if found.ndim < 2 or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"fn: expected floats [B, T_out, ...], got {found.dtype}{list(found.shape)}")
    return found.astype(np.promote_types(found.dtype, np.float32))


def same(a: np.ndarray, b: np.ndarray) -> Any:
    """Equal, cell by cell; NaN is equal to NaN."""
    return (a == b) | (np.isnan(a) & np.isnan(b))


def replacements(name: str, ids: np.ndarray, vocabulary: Any, pad_id: int) -> np.ndarray:
    """For every position ids that it does not hold, and never padding: `[TRIED, B, T]`."""
    if isinstance(vocabulary, Mapping) and name not in vocabulary:
        raise ValueError(f"vocabulary: expected the number of ids of {name}, got {', '.join(vocabulary) or 'nothing'}")
    size = vocabulary[name] if isinstance(vocabulary, Mapping) else vocabulary
    known = np.unique(ids) if size is None else np.arange(size)
    known = known[known != pad_id]
    if len(known) < 2:
        raise ValueError(
            f"vocabulary: {name} has {len(known)} ids beside padding to choose from: say how many there are"
        )
    rng = np.random.default_rng(0)
    # Steps of 1 to n - 1 through the known ids, from an id's own place, never end where they began.
    place = np.searchsorted(known, ids) % len(known)
    steps = np.stack([rng.integers(1, len(known), ids.shape) for _ in range(TRIED)])
    chosen = known[(place + steps) % len(known)]
    chosen = np.where(chosen == ids, known[(place + 1) % len(known)], chosen)
    if known.max() > np.iinfo(ids.dtype).max:
        raise ValueError(f"inputs: {name}: {ids.dtype} cannot hold {size} ids")
    return chosen.astype(ids.dtype)
