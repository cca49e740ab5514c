"""Seals of checkpoints: the SHA-256 of every file of a folder, so that a bit that flips is noticed."""

import hashlib
import shutil
from pathlib import Path

from flaxmask.files import write_whole

MANIFEST = "SHA256SUMS"
"""In a sealed folder; `sha256sum -c` reads it too."""


def seal(folder: Path):
    """Write down what a folder holds, once nobody writes to it any more."""
    write_whole(folder / MANIFEST, _text(_sums(folder)))


def is_sealed(folder: Path) -> bool:
    """Whether it was sealed; it may be broken all the same."""
    return (folder / MANIFEST).exists()


def fault(folder: Path) -> str | None:
    """What is wrong with a sealed folder: the first file that is not as it was, and how; None where all are."""
    found = _sums(folder)
    said = (folder / MANIFEST).read_bytes()
    if said == _text(found).encode():
        return None
    lines = [line.split("  ", 1) for line in said.decode(errors="replace").splitlines()]
    wanted = {line[1]: line[0] for line in lines if len(line) == 2}
    for name in sorted(wanted):
        if name not in found:
            return f"{name} is missing"
        if wanted[name] != found[name]:
            return f"{name} does not hold what was saved"
    return f"{MANIFEST} is not as it was written"


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


def _sums(folder: Path) -> dict[str, str]:
    """The digest of each file by its path in the folder; "" of one that cannot be read.

    Names with a dot in front are the desktop's, not ours; the manifest and what it is written to do not count.
    """
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name.startswith(".") or path.name in (MANIFEST, f"{MANIFEST}.tmp"):
            continue
        try:
            with path.open("rb") as file:
                sums[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # a bad sector
            sums[path.relative_to(folder).as_posix()] = ""
    return sums


def _text(sums: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())
