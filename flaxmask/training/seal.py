"""Seals of checkpoints: the SHA-256 of every file of a folder, so that a bit that flips is noticed."""

import hashlib
import shutil
from pathlib import Path

from flaxmask.files import write_whole

MANIFEST = "SHA256SUMS"
"""In a sealed folder; `sha256sum -c` reads it too."""


def seal(folder: Path):
    """Write down what a folder holds, once nobody writes to it any more."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(MANIFEST))
    lines = "".join(f"{_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths)
    write_whole(folder / MANIFEST, _headed(lines.encode()))


def is_sealed(folder: Path) -> bool:
    """Whether it was sealed; it may be broken all the same."""
    return (folder / MANIFEST).exists()


def fault(folder: Path) -> str | None:
    """What is wrong with a sealed folder: the first file that is not as it was, and how; None where all are."""
    said = (folder / MANIFEST).read_bytes()
    lines = said.partition(b"\n")[2]
    if said != _headed(lines):
        return f"{MANIFEST} is not as it was written"
    for line in lines.decode().splitlines():
        digest, name = line.split("  ", 1)
        try:
            if _digest(folder / name) != digest:
                return f"{name} does not hold what was saved"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:  # a bad sector, for one
            return f"{name} cannot be read ({error.strerror})"
    return None


def clear(place: Path):
    """Remove what saves of Orbax left that did not come to their end."""
    for path in place.rglob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(path, ignore_errors=True)


def steps(place: Path) -> list[int]:
    """Updates of the checkpoints in a folder, rising; an empty folder is none."""
    if not place.is_dir():
        return []
    found = [path for path in place.iterdir() if path.name.isdigit() and path.is_dir() and any(path.iterdir())]
    return sorted(int(path.name) for path in found)


class Seals:
    """Those of a run. Where anything of it is sealed, nothing else is trusted; an older version sealed nothing.

    Args:
      checkpoints: the folder of its checkpoints.
      beside: that of the parameters which it may be judged by, if there are any.
    """

    def __init__(self, checkpoints: Path, beside: Path):
        self._checkpoints, self._places = checkpoints, (checkpoints, beside)

    @property
    def _folders(self) -> list[Path]:
        return [place / str(step) for place in self._places for step in steps(place)]

    @property
    def any(self) -> bool:
        """Whether anything of the run is sealed."""
        return any(is_sealed(folder) for folder in self._folders)

    def fault(self, folder: Path) -> str | None:
        """Why what lies in a folder cannot be trusted; None if it can."""
        if not is_sealed(folder):
            return f"{folder} is not sealed" if self.any else None
        what = fault(folder)
        return what and f"{folder} is broken: {what}"

    def settle(self, step: int):
        """Before a run goes on from a checkpoint: remove all that it makes again and what is no checkpoint at all.

        What an older version left is sealed as it is.
        """
        sealed = self.any
        for folder in self._folders:
            newer = folder.parent == self._checkpoints and int(folder.name) > step
            # Older checkpoints are not read through: they are not needed, and soon go.
            if newer or (sealed and folder.parent != self._checkpoints and self.fault(folder)):
                shutil.rmtree(folder)
            elif not sealed:
                seal(folder)
        for empty in (path for place in self._places for path in place.glob("[0-9]*") if not [*path.glob("*")]):
            empty.rmdir()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _headed(lines: bytes) -> bytes:
    """Behind a comment with their own digest, so that a bit of the manifest is not taken for one of a file."""
    return f"# {hashlib.sha256(lines).hexdigest()}\n".encode() + lines
