"""flaxmask: attention masks as formulas, obeyed by every kernel.

Names are handed on lazily, so that `import flaxmask` (and with it `run.py --list`, help and every refusal of
bad input) starts neither jax nor flax.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flaxmask import attention, audit, masks
    from flaxmask.tokens import Batch, Tokens

__version__ = "0.1.0"
__all__ = ["Batch", "Tokens", "attention", "audit", "masks"]

_HOME = {"Tokens": "flaxmask.tokens", "Batch": "flaxmask.tokens"}


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'flaxmask' has no attribute {name!r}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    return importlib.import_module(f"flaxmask.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
