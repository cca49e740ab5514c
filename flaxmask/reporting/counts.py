"""The files of what each score counts in each example, from which its tests are made."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flaxmask.files import write_whole
from flaxmask.names import Refused


def write(path: Path, counts: Mapping[str, np.ndarray]):
    """What each score counts in each example; equal counts make equal bytes."""
    whole = lambda x: x.astype(np.int32) if np.array_equal(x, np.rint(x)) else x.astype(np.float32)
    archive = io.BytesIO()
    np.savez_compressed(archive, **{name: whole(np.asarray(array)) for name, array in counts.items()})
    write_whole(path, archive.getvalue())


def read(path: Path) -> dict[str, np.ndarray]:
    """What `write` wrote; nothing where it did not.

    Raises:
      Refused: it is not readable; the message names it.
    """
    if not path.exists():
        return {}
    try:
        with np.load(io.BytesIO(path.read_bytes())) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise Refused(f"{path}: not readable ({error}); remove it to have a table without its tests") from error
