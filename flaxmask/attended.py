"""What a trained model attends to in a few examples: for pictures, and for the explorer of a report."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from flaxmask.audit import Attends
from flaxmask.data.tasks import Task
from flaxmask.models.audited import Model
from flaxmask.tokens import Batch, Tokens

ROWS, SLOTS = 2, 64
"""Of a batch, and of a row: what a reader can take in."""
SPARE = 3
"""Slots of padding that are kept, so that it is seen to be hidden."""


def attended(task: Task, model: Model, params: Any, batch: Batch) -> dict[str, Any] | None:
    """The weights of every attention of a model, in thousandths, with tokens and what the masks let be seen.

    Args:
      task: whose vocabularies name the tokens.
      model: of the project.
      params: trained.
      batch: its first rows are looked at, and their first slots.

    Returns:
      `rows`: for each row `source` and `target`, its tokens; `maps`: for each attention its `name`, the `query` and
      `key` stream, and for each row `weights` `[N, Q, K]` and `visible` `[Q, K]`. None of a model without attention.
    """
    found = list(sown(_weights(model, params, batch)))
    if not found:
        return None
    names = {"source": task.source_vocabulary, "target": task.target_vocabulary}
    sides = {name: side for name in names if (side := getattr(batch, name)) is not None}
    count = min(ROWS, next(iter(sides.values())).shape[0])
    kept = {name: [_kept(side, row) for row in range(count)] for name, side in sides.items()}
    rows = [
        {name: [_piece(names[name], int(i)) for i in side.ids[row][: kept[name][row]]] for name, side in sides.items()}
        for row in range(count)
    ]
    maps = []
    for path, number, weights, visible in found:
        step = _steps(model.flow(batch), path)[number]
        cuts = [np.s_[row, :, : kept[step.reader][row], : kept[step.read][row]] for row in range(count)]
        shared = any(path == other[0] and number != other[1] for other in found)
        maps.append(
            {
                "name": "/".join(path) + (f", {step.reader}" if shared else ""),
                "query": step.reader,
                "key": step.read,
                "weights": [_thousandths(weights[cut]) for cut in cuts],
                "visible": [visible[cut][0].astype(int).tolist() for cut in cuts],
            }
        )
    return {"rows": rows, "maps": maps}


def _thousandths(weights: np.ndarray) -> list[Any]:
    """What is no number is as good as nothing; the audit counts it."""
    return np.rint(1000 * np.nan_to_num(weights.astype(np.float32))).astype(int).tolist()


@functools.partial(jax.jit, static_argnums=0)
def _weights(model: Model, params: Any, batch: Batch) -> Any:
    return model.apply(params, batch, mutable=["attention"])[1]


def sown(collections: Any) -> Iterator[tuple[tuple[str, ...], int, np.ndarray, np.ndarray]]:
    """The path of each attention, which of its calls, weights and what was visible."""

    def walk(tree: Any, path: tuple[str, ...]):
        if "weights" in tree:
            for number, (weights, visible) in enumerate(zip(tree["weights"], tree["visible"], strict=True)):
                yield path, number, np.asarray(weights), np.asarray(visible)
            return
        for name in sorted(tree, key=_natural):
            yield from walk(tree[name], (*path, name))

    yield from walk(collections.get("attention", {}), ())


def _natural(name: str) -> tuple[int, str, int]:
    """The encoder first, then by number."""
    stem, _, number = name.rpartition("_")
    return (not name.startswith("encoder"), stem or name, int(number) if number.isdigit() else 0)


def _steps(flow: Sequence[Attends], path: tuple[str, ...]) -> list[Attends]:
    """Of the flow, the calls of this attention in their order."""
    crossing = {"self_attention": False, "cross_attention": True}.get(path[-1])
    return [s for s in flow if s.layer == path[0] and crossing in (None, s.reader != s.read)]


def _kept(side: Tokens, row: int) -> int:
    """Slots up to the last token, and a few behind it."""
    last = np.flatnonzero(np.asarray(side.real)[row])
    return int(min((last[-1] + 1 if len(last) else 0) + SPARE, side.shape[1], SLOTS))


def _piece(vocabulary: Any, i: int) -> str:
    return vocabulary.pieces[i] if i < len(vocabulary) else "<mask>"
