"""Masks as formulas. See `flaxmask.masks.formula`; this module does not import jax."""

from flaxmask.masks.formula import (
    And,
    Causal,
    Full,
    Mask,
    Not,
    Or,
    Padding,
    Prefix,
    Segment,
    Window,
)
from flaxmask.masks.parse import parse

full, padding, causal, segment, prefix = Full(), Padding(), Causal(), Segment(), Prefix()
window = Window

__all__ = [
    "And",
    "Mask",
    "Not",
    "Or",
    "causal",
    "full",
    "padding",
    "parse",
    "prefix",
    "segment",
    "window",
]
