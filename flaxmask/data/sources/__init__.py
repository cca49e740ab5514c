"""Where examples come from: `open_split` for TFDS data sets, ours and others', `open_plain` for text files.

TFDS is imported when it is first needed. Corpora of which only lengths are known stand in `length_histograms`.
"""

import importlib
from typing import TYPE_CHECKING

from flaxmask.data.sources.files import File
from flaxmask.data.sources.plain import open_plain
from flaxmask.data.sources.split import Split, split_of

if TYPE_CHECKING:
    from flaxmask.data.sources.prepared import BUILDERS, names, open_split

_LATER = {
    "BUILDERS": "flaxmask.data.sources.prepared",
    "names": "flaxmask.data.sources.prepared",
    "open_split": "flaxmask.data.sources.prepared",
}


def __getattr__(name: str):
    """What needs TFDS."""
    if name not in _LATER:
        raise AttributeError(f"module 'flaxmask.data.sources' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)


__all__ = ["BUILDERS", "File", "Split", "names", "open_plain", "open_split", "split_of"]
