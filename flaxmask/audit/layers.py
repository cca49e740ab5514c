"""The layer in which a leak first shows itself."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxmask.audit.compare import TRIED, Comparison, Edit, handed
from flaxmask.audit.report import Leak


class Layers(NamedTuple):
    """What `check` needs to name the layer in which a leak first appears.

    Attributes:
      trace: `trace(**inputs)` gives for each layer an array `[B, T, ...]`; see `linen_trace`.
      declared: for each layer, in the model's order, its reach: for each input bool `[B, T, T_in]`; see `by_layer`.
    """

    trace: Callable[..., Mapping[str, Any]]
    declared: Mapping[str, Mapping[str, np.ndarray]]


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
            # Of a module that is called more than once, as shared layers are, the last call counts, as in `by_layer`.
            found[name] = next(x for x in jax.tree.leaves(inside["__call__"][-1]) if x.ndim >= 3)
        return found

    return trace


def name_layers(
    leaks: list[Leak], layers: Layers, ids: dict[str, np.ndarray], like: Mapping[str, Any], swaps: dict[str, np.ndarray]
) -> list[Leak]:
    """Leaks with the first layer at which their input moves, in their output's row, what that layer may not see."""
    traced = {name: np.shape(x) for name, x in layers.trace(**handed(ids, like)).items()}
    _check_layers(layers, traced)
    size = sum(int(np.prod(shape)) for shape in traced.values())
    rows = np.eye(len(next(iter(ids.values()))), dtype=bool)
    places = sorted({(leak.input, leak.input_row, leak.input_position) for leak in leaks})
    edits = [Edit((name,), rows[b], t, which) for name, b, t in places for which in range(TRIED)]
    first: dict[tuple[str, int, int, int], str] = {}
    names = list(layers.declared)
    for edit, moved in Comparison(layers.trace, ids, like, swaps, size, len(edits))(edits):
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
