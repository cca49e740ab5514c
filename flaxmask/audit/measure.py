"""Measured flow: which input positions move which outputs, of any function of ids."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask.audit.report import AuditReport, Dead, Leak

TRIED = 3
"""Replacements tried at each position."""

AT_ONCE = 2**25
"""Elements of outputs that are held at once."""


class Layers(NamedTuple):
    """What `check` needs to name the layer in which a leak first appears.

    Attributes:
      trace: `trace(**inputs)` gives for each layer an array `[B, T, ...]`; see `linen_trace`.
      declared: for each layer, in the model's order, its reach: for each input bool `[B, T, T_in]`; see `by_layer`.
    """

    trace: Callable[..., Mapping[str, Any]]
    declared: Mapping[str, Mapping[str, np.ndarray]]


class _Edit(NamedTuple):
    """Ids replaced: in `rows` (bool `[B]`) of the inputs `names`, at one position or (None) at all."""

    names: tuple[str, ...]
    rows: np.ndarray
    position: int | None
    which: int


def check(
    fn: Callable[..., Any],
    inputs: Mapping[str, Any],
    declared: Mapping[str, Any],
    *,
    vocabulary: int | Mapping[str, int] | None = None,
    pad_id: int = 0,
    layers: Layers | None = None,
) -> AuditReport:
    """Replace the id at every input position and see which outputs move; compare with what is declared.

    Two calls of one program at equal shapes and slots are compared, where a masked weight is exactly 0: whatever is
    not declared may not move, not even in its last bit. Ids are replaced on padding too, but never by padding, and
    what is real stays so: `fn` must hold masks and segments fixed. Many replacements are tried in one call under
    `jax.vmap` where `fn` allows it (a compiled `fn` is the faster), else in one call each.

    Args:
      fn: `fn(**inputs)` gives floats `[B, T_out, ...]`; any model, deterministic.
      inputs: ids, int `[B, T_in]`.
      declared: for each input, bool `[B, T_out, T_in]`: which positions may move which outputs; see `closure`.
      vocabulary: number of ids, of all inputs or of each; None tries the ids that the input holds.
      pad_id: the id of padding.
      layers: how to look inside, so that leaks are named by layer.

    Raises:
      ValueError: an input holds no ids, declared flow has another shape, or `fn` is random; each is named.
    """
    ids = {name: _check_ids(name, x) for name, x in inputs.items()}
    call = lambda: _outputs(fn(**_handed(ids, inputs)))
    base = call()
    _check_repeats(base, call())
    may = _check_declared(declared, ids, base)
    swaps = {name: _swaps(name, x, vocabulary, pad_id) for name, x in ids.items()}
    # One width for all calls, so that one program serves them.
    compare = _Comparison(fn, ids, inputs, swaps, base.size, TRIED * sum(x.shape[1] for x in ids.values()))

    batch = len(base)
    mixed = _mixing_rows(compare, batch)
    measured = {name: np.zeros(x.shape, bool) for name, x in may.items()}
    across = set()
    for edit, moved in compare(_single_edits(ids, ~mixed)):
        [name], rows = edit.names, np.flatnonzero(edit.rows)
        measured[name][rows, :, edit.position] |= moved[rows]
        if len(rows) == 1:
            others = zip(*np.nonzero(moved & ~edit.rows[:, None]), strict=True)
            across |= {Leak(name, int(b), int(t), int(rows[0]), int(edit.position or 0)) for b, t in others}
    _check_repeats(base, call())
    leaks = [
        Leak(name, int(b), int(t), int(b), int(s))
        for name, moved in measured.items()
        for b, t, s in zip(*np.nonzero(moved & ~may[name]), strict=True)
    ]
    leaks = sorted([*leaks, *across])
    if layers is not None and leaks:
        leaks = _with_layers(leaks, layers, ids, inputs, swaps)
    nan = _at_positions(np.isnan(base), 2) | compare.nan
    dead = [
        Dead(name, int(b), int(t), int(s))
        for name, moved in measured.items()
        for b, t, s in zip(*np.nonzero(may[name] & ~moved & ~nan[..., None]), strict=True)
    ]
    found = tuple((int(b), int(t)) for b, t in zip(*np.nonzero(nan), strict=True))
    return AuditReport(tuple(leaks), tuple(dead), found, may, measured, TRIED)


def linen_trace(apply: Callable[..., Any], names: Any) -> Callable[..., dict[str, Any]]:
    """A `trace` of a Linen model.

    Args:
      apply: `apply(**inputs, **how)`, handing `how` on to the module's `apply`, which then gives what its submodules
        returned.
      names: of submodules, nested ones with slashes; of each, the first array it returned with at least three axes.
    """

    def trace(**inputs):
        _, state = apply(**inputs, capture_intermediates=True, mutable=("intermediates",))
        found = {}
        for name in names:
            inside: Any = state["intermediates"]
            for part in name.split("/"):
                inside = inside[part]
            found[name] = next(x for x in jax.tree.leaves(inside["__call__"]) if x.ndim >= 3)
        return found

    return trace


def _check_ids(name: str, ids: Any) -> np.ndarray:
    found = np.asarray(ids)
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"inputs: {name}: expected integer ids [B, T], got {found.dtype}{list(found.shape)}")
    return found


def _handed(ids: Mapping[str, np.ndarray], like: Mapping[str, Any]) -> dict[str, Any]:
    """Ids as `fn` gets them: of the kind that was given, and its own to write to."""
    return {name: jnp.asarray(x) if isinstance(like[name], jax.Array) else np.array(x) for name, x in ids.items()}


def _check_repeats(a: np.ndarray, b: np.ndarray):
    if not _same(a, b).all():
        raise ValueError("fn: two calls with the same inputs differ: make it deterministic (is dropout on?)")


def _check_declared(declared: Mapping[str, Any], ids: Mapping[str, np.ndarray], base: np.ndarray):
    if set(declared) != set(ids):
        raise ValueError(f"declared: expected the inputs {', '.join(ids)}, got {', '.join(declared) or 'none'}")
    for name, x in ids.items():
        if len(x) != len(base):
            found = list(base.shape)
            raise ValueError(f"fn: expected floats [{len(x)}, T_out, ...], as {name} has {len(x)} rows, got {found}")
        wanted, found = (len(base), base.shape[1], x.shape[1]), np.asarray(declared[name])
        if found.shape != wanted or found.dtype != bool:
            raise ValueError(f"declared: {name}: expected bool{list(wanted)}, got {found.dtype}{list(found.shape)}")
    return {name: np.asarray(declared[name]) for name in ids}


def _outputs(out: Any) -> np.ndarray:
    """NumPy, with bfloat16 widened."""
    found = np.asarray(out)
    if found.ndim < 2 or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"fn: expected floats [B, T_out, ...], got {found.dtype}{list(found.shape)}")
    return found.astype(np.promote_types(found.dtype, np.float32))


def _same(a: np.ndarray, b: np.ndarray) -> Any:
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _swaps(name: str, ids: np.ndarray, vocabulary: Any, pad_id: int) -> np.ndarray:
    """`[TRIED, B, T]`: for every position, ids that it does not hold, and never padding."""
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


class _Comparison:
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

    def __call__(self, edits: list[_Edit]) -> Iterator[tuple[_Edit, Any]]:
        """Each edit with what it moved: of an array `[B, T, ...]` bool `[B, T]`, of a tree a tree."""
        if self.plain is None:
            self.plain = self._call([self.ids] * self.width)
        for start in range(0, len(edits), self.width):
            some = edits[start : start + self.width]
            filled = some + [some[-1]] * (self.width - len(some) if self.together else 0)
            changed = self._call([self._edited(edit) for edit in filled])
            if isinstance(changed, np.ndarray):
                self.nan = self.nan | _at_positions(np.isnan(changed), 3).any(axis=0)
            moved = jax.tree.map(lambda x, y: _at_positions(~_same(x, y[: len(x)]), 3), changed, self.plain)
            for slot, edit in enumerate(some):
                yield edit, jax.tree.map(lambda x, slot=slot: x[slot], moved)

    def _edited(self, edit: _Edit) -> dict[str, np.ndarray]:
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
                return jax.tree.map(_outputs, jax.vmap(lambda ids: self.fn(**ids))(stacked))
            except Exception:
                # Whatever a function that is not jax's makes of a tracer. Its own faults come again below.
                self.together = False
        called = many[:1] if many[0] is self.ids else many
        each = [jax.tree.map(_outputs, self.fn(**_handed(ids, self.like))) for ids in called]
        stacked = jax.tree.map(lambda *x: np.stack(x), *each)
        return jax.tree.map(lambda x: np.broadcast_to(x, (len(many), *x.shape[1:])), stacked)


def _at_positions(cells: np.ndarray, kept: int) -> Any:
    """Whether any cell is true behind the first `kept` axes."""
    return cells.any(axis=tuple(range(kept, cells.ndim)))


def _mixing_rows(compare: _Comparison, batch: int) -> np.ndarray:
    """Bool `[B]`: rows that move other rows when all their ids are replaced."""
    mixing = np.zeros(batch, bool)
    if batch > 1:
        rows = np.eye(batch, dtype=bool)
        edits = [_Edit(tuple(compare.ids), rows[b], None, which) for b in range(batch) for which in range(TRIED)]
        for edit, moved in compare(edits):
            mixing |= edit.rows & moved[~edit.rows].any()
    return mixing


def _single_edits(ids: dict[str, np.ndarray], apart: np.ndarray) -> list[_Edit]:
    """One position at a time: in all rows that keep to themselves at once, in every other by itself."""
    groups = [row for row in np.eye(len(apart), dtype=bool) if not (row & apart).any()]
    groups += [apart] if apart.any() else []
    return [
        _Edit((name,), rows, t, which)
        for name, x in ids.items()
        for rows in groups
        for t in range(x.shape[1])
        for which in range(TRIED)
    ]


def _with_layers(
    leaks: list[Leak], layers: Layers, ids: dict[str, np.ndarray], like: Mapping[str, Any], swaps: dict[str, np.ndarray]
) -> list[Leak]:
    """Leaks with the first layer at which their input moves, in their output's row, what that layer may not see."""
    traced = {name: np.shape(x) for name, x in layers.trace(**_handed(ids, like)).items()}
    _check_layers(layers, traced)
    size = sum(int(np.prod(shape)) for shape in traced.values())
    rows = np.eye(len(next(iter(ids.values()))), dtype=bool)
    places = sorted({(leak.input, leak.input_row, leak.input_position) for leak in leaks})
    edits = [_Edit((name,), rows[b], t, which) for name, b, t in places for which in range(TRIED)]
    first: dict[tuple[str, int, int, int], str] = {}
    names = list(layers.declared)
    for edit, moved in _Comparison(layers.trace, ids, like, swaps, size, len(edits))(edits):
        [name], row, at = edit.names, int(np.flatnonzero(edit.rows)[0]), int(edit.position or 0)
        for layer in names:
            allowed = np.zeros(moved[layer].shape, bool)
            allowed[row] = layers.declared[layer][name][row, :, at]
            for reached in np.flatnonzero((moved[layer] & ~allowed).any(axis=1)):
                key = name, row, at, int(reached)
                first[key] = min(layer, first.get(key, layer), key=names.index)
    key = lambda leak: (leak.input, leak.input_row, leak.input_position, leak.output_row)
    return [leak._replace(layer=first.get(key(leak))) for leak in leaks]


def _check_layers(layers: Layers, traced: Mapping[str, tuple[int, ...]]):
    for layer, reach in layers.declared.items():
        for name, may in reach.items():
            if layer not in traced or np.shape(may)[:2] != traced[layer][:2]:
                found = f"got {list(traced[layer])}" if layer in traced else f"there are {', '.join(traced)}"
                raise ValueError(f"layers: {layer}: expected a trace {list(np.shape(may)[:2])} for {name}, {found}")
