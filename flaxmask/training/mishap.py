"""What may go wrong in an update, and what is said of it: too large a batch, and numbers that are not finite."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxmask.files import write_whole
from flaxmask.names import Failed
from flaxmask.tokens import Batch

SKIPPED = 100
"""Updates in a row that may be left out: after so many, nothing is learned any more."""


@contextlib.contextmanager
def fits(batch: Batch) -> Iterator[None]:
    """Says of which batch a program was that has no room in memory.

    Raises:
      Failed: the message names the batch's shape and the settings that make it smaller.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        said = str(error).strip().split("\n")[0]
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in said:
            raise
        raise Failed(
            f"out of memory in an update of {_shape(batch)} ({said or 'MemoryError'}): set data.batch_examples, "
            f"or data.batch_tokens where it is given, to less, or data.length, or take a smaller model"
        ) from error


def _shape(batch: Batch) -> str:
    sides = {"source": batch.source, "target": batch.target}
    lengths = {name: tokens.shape for name, tokens in sides.items() if tokens is not None}
    rows = next(iter(lengths.values()))[0]
    return f"{rows} rows × {' and '.join(f'{shape[1]} {name}' for name, shape in lengths.items())} tokens"


def what(found: dict[str, np.ndarray], update: int) -> str:
    """Which number of an update is not finite."""
    name = "gradient norm" if np.isfinite(found["loss"]) else "loss"
    return f"the {name} of update {update} is {float(found[name.replace(' ', '_')])}"


def set_aside(batch: Batch, path: Path):
    """Keep a batch for study, as arrays by their names in it: `source.ids`, `labels`, …; nothing in it is pickled."""
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    arrays: dict[str, Any] = {jax.tree_util.keystr(name).lstrip("."): np.asarray(leaf) for name, leaf in leaves}
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)
    write_whole(path, archive.getvalue())
