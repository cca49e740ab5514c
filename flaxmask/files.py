"""Files that are there whole or not at all, and what to say where they cannot be written."""

import contextlib
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flaxmask.names import Failed, Refused

UNFIT = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}
"""What the system says where there is no room."""


def write_whole(path: Path, content: str | bytes):
    """Write a file that is there whole or not at all, whenever the process or the machine ends.

    Raises:
      Failed: it cannot be written; what stood there before stands there still.
      Refused: a folder stands where the file should, or a file where its folder should.
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with beside.open("xb") as file:  # a link of that name would be written through
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError):
            raise Refused(f"{path} cannot be written ({error.strerror}): remove what stands there") from None
        raise unwritten(error, path) from error


def write_figure(path: Path, figure: Any, **how: Any):
    """The same of a figure of matplotlib's, in the format that the path's ending names."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], **how)
    write_whole(path, drawn.getvalue())


@contextlib.contextmanager
def writing(path: Path, clear: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Says what cannot be written where another library writes, and calls `clear`, to remove what it has left.

    Raises:
      Failed: see `unwritten`.
    """
    try:
        yield
    except Failed:
        raise
    except Exception as error:
        if not (isinstance(error, OSError) or no_room(error)):
            raise
        said = unwritten(error, path)
        clear()
        raise said from error


def unwritten(error: BaseException, path: Path) -> Failed:
    """What to raise where a path cannot be written: it names the path, the reason and the room that is left."""
    reason = error.strerror if isinstance(error, OSError) else None
    reason = reason or next((said for said in UNFIT.values() if said in str(error)), str(error).split("\n")[0])
    usage = shutil.disk_usage(next(folder for folder in (path, *path.absolute().parents) if folder.is_dir()))
    mend = "make room" if no_room(error) else "see to it"
    return Failed(
        f"{path} cannot be written ({reason}; {usage.free / 2**20:,.1f} of {usage.total / 2**20:,.1f} MiB are free "
        f"there): {mend} and give the same command again, it goes on from what is kept"
    )


def no_room(error: BaseException) -> bool:
    """Whether an error, or what led to it, says that the disk is full. Not every library raises the system's own."""
    if isinstance(error, OSError) and error.errno in UNFIT:
        return True
    before = error.__cause__ or error.__context__
    return any(said in str(error) for said in UNFIT.values()) or (before is not None and no_room(before))


def _sync(folder: Path):
    """A new name is safe once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
