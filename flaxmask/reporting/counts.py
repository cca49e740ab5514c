"""The files of what each score counts in each example, from which its tests are made."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flaxmask import foreign
from flaxmask.evaluation.scores import SCORES, corpus_score
from flaxmask.files import write_whole
from flaxmask.names import Refused


def write(path: Path, counts: Mapping[str, np.ndarray]):
    """What each score counts in each example; equal counts make equal bytes.

    The loss of a model whose numbers overflowed is not finite, and no test is made of it: it is left out.
    """
    counts = {name: np.asarray(array) for name, array in counts.items() if np.isfinite(array).all()}
    whole = lambda x: x.astype(np.int32) if np.array_equal(x, np.rint(x)) else x.astype(np.float32)
    archive = io.BytesIO()
    np.savez_compressed(archive, **{name: whole(array) for name, array in counts.items()})
    write_whole(path, archive.getvalue())


def read(path: Path) -> dict[str, np.ndarray]:
    """What `write` wrote; nothing where it did not.

    Raises:
      Refused: it is not readable; the message names it.
    """
    try:
        found = _unpacked(foreign.read_bytes(path))
        with np.errstate(all="ignore"):
            for name in found.keys() & SCORES.keys():
                corpus_score(name, found[name])
    except FileNotFoundError:
        return {}
    except Exception as error:  # whatever unpacking stumbles over in bytes that anybody may have made
        if isinstance(error, Refused):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Refused(f"{path}: not readable ({reason}); remove it to have a table without its tests") from error
    return found


def _unpacked(packed: bytes) -> dict[str, np.ndarray]:
    """The arrays of an archive that is no larger than it says, and says no more than `foreign.MOST` bytes."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        if sum(member.file_size for member in archive.infolist()) > foreign.MOST:
            raise ValueError("it would be too large")
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        found = {name: np.asarray(archive[name]) for name in archive.files}
    for name, array in found.items():
        if array.ndim != 2 or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise ValueError(
                f"{name}: expected finite numbers [examples, counts], got {array.dtype}{list(array.shape)}"
            )
        if not len(array) or (name != "loss" and array.min() < 0):
            raise ValueError(f"{name}: expected some examples, and counts from 0 up")
    return found
