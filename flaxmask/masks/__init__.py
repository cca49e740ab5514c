"""Masks as formulas. See `flaxmask.masks.formula`; this module does not import jax."""

import importlib
from typing import TYPE_CHECKING

from flaxmask.masks.formula import And, By, Full, Mask, Not, Or, Padding, Prefix, Segment
from flaxmask.masks.parse import content, parse, register
from flaxmask.masks.positions import Causal, Dilated, Explicit, GlobalTokens, RandomBlocks, Strided, Window

full, padding, causal, segment, prefix = Full(), Padding(), Causal(), Segment(), Prefix()
window, strided, dilated, global_tokens, random_blocks = Window, Strided, Dilated, GlobalTokens, RandomBlocks
explicit, by = Explicit.of, content

if TYPE_CHECKING:
    from flaxmask.masks.drawing import draw, figure
    from flaxmask.masks.meaning import equivalent, implies

_LATER = {
    "draw": "flaxmask.masks.drawing",
    "figure": "flaxmask.masks.drawing",
    "equivalent": "flaxmask.masks.meaning",
    "implies": "flaxmask.masks.meaning",
}


def __getattr__(name: str):
    """What needs NumPy or jax, imported when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module 'flaxmask.masks' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)


__all__ = [
    "And",
    "By",
    "Mask",
    "Not",
    "Or",
    "by",
    "causal",
    "content",
    "dilated",
    "draw",
    "equivalent",
    "explicit",
    "figure",
    "full",
    "global_tokens",
    "implies",
    "padding",
    "parse",
    "prefix",
    "random_blocks",
    "register",
    "segment",
    "strided",
    "window",
]
