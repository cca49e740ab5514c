"""Measured flow: which input positions move which outputs, of any function of ids."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flaxmask.audit.compare import TRIED, Comparison, Edit, at_positions, handed, outputs, replacements, same
from flaxmask.audit.layers import Layers, name_layers
from flaxmask.audit.report import AuditReport, Dead, Leak


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
      ValueError: an input holds no ids, declared flow has another shape, or `fn` is random, gives no single array, or
        fails with ids of the vocabulary; each is named.
    """
    _check_named("inputs", "ids", inputs)
    _check_named("declared", "bool[B, T_out, T_in]", declared)
    ids = {name: _check_ids(name, x) for name, x in inputs.items()}
    call = lambda: outputs(fn(**handed(ids, inputs)))
    base = call()
    _check_repeats(base, call())
    may = _check_declared(declared, ids, base)
    swaps = {name: replacements(name, x, vocabulary, pad_id) for name, x in ids.items()}
    # One width for all calls, so that one program serves them.
    compare = Comparison(fn, ids, inputs, swaps, base.size, TRIED * sum(x.shape[1] for x in ids.values()))

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
        leaks = name_layers(leaks, layers, ids, inputs, swaps)
    nan = at_positions(np.isnan(base), 2) | compare.nan
    dead = [
        Dead(name, int(b), int(t), int(s))
        for name, moved in measured.items()
        for b, t, s in zip(*np.nonzero(may[name] & ~moved & ~nan[..., None]), strict=True)
    ]
    found = tuple((int(b), int(t)) for b, t in zip(*np.nonzero(nan), strict=True))
    return AuditReport(tuple(leaks), tuple(dead), found, may, measured, TRIED, _padding(ids, base, pad_id))


def _check_named(what: str, kind: str, given: Any):
    if not isinstance(given, Mapping):
        found = f"{given.dtype}{list(given.shape)}" if hasattr(given, "dtype") else type(given).__name__
        raise ValueError(f"{what}: expected a dict of the inputs' names and {kind}, got {found}")


def _check_ids(name: str, ids: Any) -> np.ndarray:
    found = np.asarray(ids)
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"inputs: {name}: expected integer ids [B, T], got {found.dtype}{list(found.shape)}")
    return found


def _check_repeats(a: np.ndarray, b: np.ndarray):
    if not same(a, b).all():
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


def _padding(ids: Mapping[str, np.ndarray], base: np.ndarray, pad_id: int) -> np.ndarray:
    """Bool `[B, T_out]`: outputs at padding of the last input that has as many positions, which they follow."""
    same = [x for x in ids.values() if x.shape == base.shape[:2]]
    return same[-1] == pad_id if same else np.zeros(base.shape[:2], bool)


def _mixing_rows(compare: Comparison, batch: int) -> np.ndarray:
    """Bool `[B]`: rows that move other rows when all their ids are replaced."""
    mixing = np.zeros(batch, bool)
    if batch > 1:
        rows = np.eye(batch, dtype=bool)
        edits = [Edit(tuple(compare.ids), rows[b], None, which) for b in range(batch) for which in range(TRIED)]
        for edit, moved in compare(edits):
            mixing |= edit.rows & moved[~edit.rows].any()
    return mixing


def _single_edits(ids: dict[str, np.ndarray], apart: np.ndarray) -> list[Edit]:
    """One position at a time: in all rows that keep to themselves at once, in every other by itself."""
    groups = [row for row in np.eye(len(apart), dtype=bool) if not (row & apart).any()]
    groups += [apart] if apart.any() else []
    return [
        Edit((name,), rows, t, which)
        for name, x in ids.items()
        for rows in groups
        for t in range(x.shape[1])
        for which in range(TRIED)
    ]
