"""Seals of checkpoints: the SHA-256 of every file of a folder, so that a bit that flips is noticed."""

import hashlib
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
