"""What a call of attention is, before it is computed: what implementations choose by and explain themselves with."""

import math
from typing import Any, NamedTuple

from flaxmask.masks import And, By, Mask, Not, Or
from flaxmask.tokens import Tokens


class Call(NamedTuple):
    """Arguments of `dot_product_attention`, arrays or shapes, and where it runs."""

    query: Any
    key: Any
    mask: Mask
    query_tokens: Tokens
    key_tokens: Tokens
    bias: Any
    dropout_rate: float
    platform: str

    @property
    def cells(self) -> int:
        """`B · Q · K`: cells of the mask."""
        return self.query.shape[0] * self.query.shape[1] * self.key.shape[1]


class Lowering(NamedTuple):
    """How an implementation obeys a mask.

    Attributes:
      parts: each part of the formula, and what it becomes.
      built: what is held in memory beside inputs and outputs, in bytes.
      blocks: queries and keys of the blocks of which hidden ones are skipped; None if every cell is computed.
      backward: products of matrices in the backward pass, of which the forward pass has two.
    """

    parts: tuple[tuple[str, str], ...]
    built: dict[str, int]
    blocks: tuple[int, int] | None
    backward: int


def dense_lowering(call: Call) -> Lowering:
    """Of an implementation that builds the whole mask, all scores and all weights."""
    scores = call.cells * call.query.shape[2] * 4
    parts = ((str(call.mask), "one boolean array [B, 1, Q, K]"),)
    return Lowering(parts, {"mask": call.cells, "scores": scores, "weights": scores}, None, 4)


def by_content(mask: Mask) -> By | None:
    """The first part of a formula that depends on content."""
    match mask:
        case By():
            return mask
        case Not(term):
            return by_content(term)
        case And(terms) | Or(terms):
            return next((found for term in terms if (found := by_content(term)) is not None), None)
    return None


def content_refusal(call: Call, name: str) -> str | None:
    """What an implementation that never holds all scores says of a mask by content."""
    by = by_content(call.mask)
    return None if by is None else f"the mask {by} reads all scores of a query at once, and {name} never holds them"


def up_to(length: int, multiple: int) -> int:
    """`length` rounded up."""
    return math.ceil(length / multiple) * multiple
