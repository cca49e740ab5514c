"""What would happen to a call of `dot_product_attention`, in words and figures, before it is run."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from flaxmask.attention.call import Call, Lowering, by_content
from flaxmask.attention.dispatch import IMPLEMENTATIONS, check, choose
from flaxmask.masks import Mask
from flaxmask.tokens import Array, Tokens

CHUNK = 2**24
"""Cells evaluated at once when the visible ones are counted."""


@dataclasses.dataclass(frozen=True)
class Report:
    """How attention over a mask is computed; `str` prints it.

    Attributes:
      call: the arguments.
      picked: name of the implementation.
      lowering: how it obeys the mask.
      others: of each other implementation, why it was not picked.
      visible: cells the mask leaves visible; None where the Tokens are shapes, or the mask depends on content.
      skipped: blocks proved hidden; None where that is known at run time only, or nothing is skipped.
      open: blocks proved visible as a whole, which need no mask; likewise.
      blocks: all of them; None where nothing is skipped.
    """

    call: Call
    picked: str
    lowering: Lowering
    others: dict[str, str]
    visible: int | None
    skipped: int | None
    open: int | None
    blocks: int | None

    @property
    def density(self) -> float | None:
        """The part of all cells that is visible."""
        return None if self.visible is None else self.visible / self.call.cells

    @property
    def flops(self) -> tuple[int, int]:
        """Of the products of the forward pass and of the backward pass; upper bounds where blocks are not known."""
        left = 1.0 if self.skipped is None or not self.blocks else 1 - self.skipped / self.blocks
        product = 2 * self.call.cells * self.call.query.shape[2] * self.call.query.shape[3] * left
        return round(2 * product), round(self.lowering.backward * product)

    def __str__(self) -> str:
        call, lines = self.call, []
        shown = lambda x: f"{x.dtype}{list(x.shape)}"
        lines.append(f"query {shown(call.query)}, key {shown(call.key)}, on {call.platform}")
        lines.append(f"mask {call.mask}: {self._density()}")
        lines.append(f"picked: {self.picked}")
        lines += [f"  {part} → {becomes}" for part, becomes in self.lowering.parts]
        built = [f"{what} {_bytes(size)}" for what, size in self.lowering.built.items()]
        lines.append(f"  built: {', '.join(built) or 'nothing beside inputs and outputs'}")
        lines.append(f"  computed: {self._computed()}")
        forward, backward = (f"{x / 1e9:,.3g}" for x in self.flops)
        lines.append(f"  products: {forward} GFLOP forward, {backward} backward")
        lines.append("not picked:")
        lines += [f"  {name}: {why}" for name, why in self.others.items()]
        return "\n".join(lines)

    def _density(self) -> str:
        if self.visible is None:
            return "how much is visible is known at run time"
        return f"{self.visible:,} of {self.call.cells:,} cells visible ({self.density:.3f})"

    def _computed(self) -> str:
        if self.blocks is None:
            return "every cell"
        size = "{} × {}".format(*(self.lowering.blocks or ()))
        if self.skipped is None:
            return f"blocks of {size}, as many as are not proved hidden at run time"
        return (
            f"{self.blocks - self.skipped:,} of {self.blocks:,} blocks of {size}, {self.open:,} of them without a mask"
        )


def explain(
    query: Any,
    key: Any,
    value: Any,
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    *,
    bias: Array | Callable[[Tokens, Tokens], Array] | None = None,
    implementation: str | None = None,
    dropout_rate: float = 0.0,
    dropout_rng: Any = None,
) -> Report:
    """Which implementation a call of `dot_product_attention` takes, why, and what that costs; nothing is computed.

    Args are those of `dot_product_attention`; arrays, or `jax.ShapeDtypeStruct`s with their shapes. Of Tokens that
    are arrays the visible cells and the hidden blocks are counted.

    Raises:
      ValueError: as `dot_product_attention` would.
    """
    check(query, key, value, mask, query_tokens, key_tokens, bias, dropout_rate)
    call = Call(query, key, mask, query_tokens, key_tokens, bias, dropout_rate, jax.default_backend())
    picked = choose(call, implementation)
    lowering = IMPLEMENTATIONS[picked].lowering(call)
    first = f"{picked} comes first"
    others = {
        name: other.refuses(call) or (f"{picked} was named" if implementation else other.declines(call)) or first
        for name, other in IMPLEMENTATIONS.items()
        if name != picked
    }
    known = _is_known(query_tokens) and _is_known(key_tokens)
    counted = by_content(mask) is None and known
    if lowering.blocks is None:
        return Report(call, picked, lowering, others, _visible(call) if counted else None, None, None, None)
    queries, keys = (-(-n // size) for n, size in zip((query.shape[1], key.shape[1]), lowering.blocks, strict=True))
    blocks = query.shape[0] * queries * keys
    if not counted:
        return Report(call, picked, lowering, others, None, None, None, blocks)
    states = np.asarray(mask.blocks(query_tokens, key_tokens, *lowering.blocks))
    return Report(
        call, picked, lowering, others, _visible(call), int((states == 0).sum()), int((states == 2).sum()), blocks
    )


def _is_known(tokens: Tokens) -> bool:
    return all(isinstance(x, Array) and not isinstance(x, Tracer) for x in jax.tree.leaves(tokens))


def _visible(call: Call) -> int:
    """Counted a few queries at a time."""
    step = max(1, CHUNK // (call.cells // call.query.shape[1] or 1))
    total = 0
    for start in range(0, call.query.shape[1], step):
        some = jax.tree.map(lambda x, start=start: x[:, start : start + step], call.query_tokens)
        total += int(np.asarray(call.mask(some, call.key_tokens)).sum())
    return total


def _bytes(size: int | float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.3g} {unit}"
        size /= 1024
    return f"{size:,.3g} GiB"
