"""Batch invariance: whether an answer depends on what else is in the batch, or on how it is laid out."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from flaxmask.tokens import Layout, Tokens

Example = Mapping[str, Any]
"""Ids of each input, int `[T]`."""


@dataclasses.dataclass(frozen=True)
class Drift:
    """How far answers are from those of each example alone and unpadded.

    Attributes:
      logits: for each arrangement, the largest difference of an output, infinite where one is NaN; rounding alone is
        about 1e-6 of the outputs' size in float32.
      changed: for each arrangement, decoded outputs that changed; empty where nothing was decoded.
    """

    logits: dict[str, float]
    changed: dict[str, int]

    @property
    def largest(self) -> float:
        """Over all arrangements."""
        return max(self.logits.values())

    def __str__(self) -> str:
        lines = [f"batch drift: at most {self.largest:.1e}, {sum(self.changed.values())} decoded outputs changed"]
        for name, far in self.logits.items():
            decoded = f", {self.changed[name]} decoded outputs changed" if name in self.changed else ""
            lines.append(f"  {name}: {far:.1e}{decoded}")
        return "\n".join(lines)


def drift(
    fn: Callable[..., Any],
    examples: Sequence[Example],
    output: str,
    *,
    decode: Callable[..., Any] | None = None,
    pads: Sequence[int] = (1, 5),
    pad_id: int = 0,
    prefixes: Sequence[Any] | None = None,
    side: str = "right",
) -> Drift:
    """Compare each example's answer alone and unpadded with its answers in other company.

    The arrangements: padded by each of `pads`; beside the others, in order and in reverse (another place in the
    batch); and all in one packed row with padding behind them.

    Args:
      fn: `fn(**tokens)` gives floats `[B, T_out, ...]` for the `Tokens` of each input.
      examples: at least two.
      output: the input whose positions the outputs follow.
      decode: `decode(**tokens)` gives a sequence of ids or a text for each row; not asked of packed rows.
      pads: slots of padding added to every input.
      pad_id: what decoded sequences are filled up with at their ends.
      prefixes: for each example, bool `[T]`: its prefix in the input `output`; None flags nothing.
      side: where padding stands, "right" or "left".
    """
    if not pads:
        raise ValueError("pads: expected at least one number of slots to pad by")
    if len(examples) < 2:
        raise ValueError(f"examples: expected at least 2, to stand beside each other, got {len(examples)}")
    everyone = range(len(examples))
    rows = {"alone": [[[i]] for i in everyone]}
    rows |= {f"padded by {n}": rows["alone"] for n in pads}
    rows |= {"beside others": [[[i] for i in everyone]], "in reverse": [[[i] for i in reversed(everyone)]]}
    rows |= {"packed": [[list(everyone)]]}
    extra = {f"padded by {n}": n for n in pads} | {"packed": max(pads)}

    answers, decoded = {}, {}
    for name, batches in rows.items():
        answers[name], decoded[name] = {}, {}
        for batch in batches:
            layout = "packed" if name == "packed" else "rows"
            tokens = lay_out(examples, batch, extra.get(name, 0), layout, {output: prefixes} if prefixes else {}, side)
            out = np.asarray(fn(**tokens))
            answers[name] |= _parts(out.astype(np.promote_types(out.dtype, np.float32)), tokens[output], batch)
            if decode is not None and name != "packed":
                written = decode(**tokens)
                decoded[name] |= {i: written[row] for row, [i] in enumerate(batch)}
    others = [name for name in rows if name != "alone"]
    far = {name: max(_distance(answers[name][i], answers["alone"][i]) for i in everyone) for name in others}
    changed = {
        name: sum(_trimmed(decoded[name][i], pad_id) != _trimmed(decoded["alone"][i], pad_id) for i in everyone)
        for name in others
        if decoded[name]
    }
    return Drift(far, changed)


def lay_out(
    examples: Sequence[Example],
    rows: Sequence[Sequence[int]],
    extra: int,
    layout: Layout,
    prefixes: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    side: str = "right",
) -> dict[str, Tokens]:
    """The `Tokens` of each input, with these examples in each row and `extra` slots of padding on a side."""
    tokens = {}
    for name in examples[0]:
        parts = [[np.asarray(examples[i][name]) for i in row] for row in rows]
        length = max(sum(map(len, row)) for row in parts) + extra
        ids, segments, positions = (np.zeros((len(rows), length), np.int32) for _ in range(3))
        flags = np.zeros((len(rows), length), bool) if name in prefixes else None
        for b, row in enumerate(parts):
            start = 0 if side == "right" else length - sum(map(len, row))
            for number, part in enumerate(row, start=1):
                here = slice(start, start + len(part))
                ids[b, here], segments[b, here], positions[b, here] = part, number, np.arange(len(part))
                if flags is not None:
                    flags[b, here] = prefixes[name][rows[b][number - 1]]
                start = here.stop
            positions[b, start:] = np.arange(start, length)
        promised: Layout = layout if side == "right" else "any"
        tokens[name] = Tokens(ids, segments, positions, flags, promised).check()
    return tokens


def _parts(out: np.ndarray, tokens: Tokens, rows: Sequence[Sequence[int]]) -> dict[int, np.ndarray]:
    """The outputs of each example."""
    found = {}
    for b, row in enumerate(rows):
        for number, i in enumerate(row, start=1):
            found[i] = out[b, np.asarray(tokens.segments[b]) == number]
    return found


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        far = np.where(a == b, 0.0, np.abs(a - b))
    return float(np.where(np.isnan(far), np.inf, far).max(initial=0.0))


def _trimmed(written: Any, pad_id: int) -> Any:
    """Without the padding at its end, which is as long as the others of the batch make it."""
    if isinstance(written, str):
        return written
    ids = list(written)
    while ids and ids[-1] == pad_id:
        ids.pop()
    return ids
