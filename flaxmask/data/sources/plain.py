"""Anybody's own text files: tab-separated columns, JSON lines, or plain lines, each also packed with gzip."""

import collections
import gzip
import json
import os
import stat
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from flaxmask import foreign
from flaxmask.data.sources.lines import decode
from flaxmask.data.sources.split import Split, split_of
from flaxmask.names import Refused, nearest

_SPLITS = ("train", "validation", "test")
_MARK = b"\xef\xbb\xbf"
"""The byte-order mark that some editors put in front of a text."""

LONGEST = 1 << 24
"""Bytes of a line: what is packed small may be endless when it is unpacked."""

Parse = Callable[[str, str], dict[str, Any]]
"""From a line, and where it stands, to a record."""


def open_plain(path: str, split: str) -> Split:
    """A split of a text file of one record a line; what the lines hold is told by the suffix.

    ".tsv" gives the columns as "1", "2", …; ".jsonl" the keys of each line's object; ".txt" the line as "text"; all of
    them may be followed by ".gz". A path with "{split}" in it names one file a split. The lines of any other file are
    split by their hash, 90:5:5. Empty lines, and lines of white space, are skipped and counted. Every line of the file
    is read and checked here; of the records only their places are kept.

    Raises:
      Refused: the file is not there, of an unknown kind, empty, or has a line that is not what the others are.
    """
    shared = "{split}" not in path
    if shared and split not in _SPLITS:
        raise Refused(f"{path} has no split {split!r}; {nearest(split, _SPLITS)}; or name one file a split: {{split}}")
    file = Path(os.path.expanduser(path.replace("{split}", split)))
    kind = _kind(file)
    state = _state(file)
    with _opened(file) as text:
        offsets, found, skipped = _scan(text, file, kind, split if shared else None)
    if not found:
        raise Refused(f"{file}: holds no record: expected lines of {kind}")
    if not offsets:
        raise Refused(
            f"{file}: none of its {found} records falls to {split}: give more, or one file a split: {{split}}"
        )

    def fetch(count: int, chunk: int) -> Iterator[dict[str, Any]]:
        del chunk  # one line at a time is held
        if _state(file) != state:
            raise Refused(f"{file}: has changed since it was opened: start again")
        with _opened(file) as text:
            parse = _PARSERS[kind]()
            for offset in offsets[:count]:
                text.seek(offset)
                yield parse(decode(text.readline(), file, 0), f"{file}, byte {offset}")

    def place(record: int) -> str:
        with _opened(file) as text:
            lines = sum(1 for offset, _ in _lines(text, file) if offset <= offsets[record])
        return f"{file}, line {lines}"

    # Blank lines of a file that is split by its lines fall to no split: they are counted once, with the first.
    counted = skipped if split == _SPLITS[0] or not shared else {}
    return Split(f"{path}:{split}", len(offsets), fetch, skipped=counted, place=place)


def check(path: str, split: str):
    """Refuse a path at which no file of a known kind stands, before anything is read."""
    file = Path(os.path.expanduser(path.replace("{split}", split)))
    _kind(file)
    _state(file)


def _scan(text: BinaryIO, file: Path, kind: str, wanted: str | None) -> tuple[array, int, dict[str, int]]:
    """Where the records of a split begin, how many records the file has, and how many lines are none, by reason."""
    parse = _PARSERS[kind]()
    offsets, found, skipped = array("q"), 0, collections.Counter()
    for number, (offset, raw) in enumerate(_lines(text, file), start=1):
        line = decode(raw, file, number)
        if not line or line.isspace():
            skipped["white space" if line else "empty"] += 1
            continue
        parse(line, f"{file}, line {number}")
        found += 1
        if wanted is None or split_of(line) == wanted:
            offsets.append(offset)
    return offsets, found, dict(skipped)


def _lines(text: BinaryIO, file: Path) -> Iterator[tuple[int, bytes]]:
    """Lines and the bytes before them."""
    try:
        offset = len(_MARK) if text.read(len(_MARK)) == _MARK else 0
        text.seek(offset)
        while raw := text.readline(LONGEST + 1):
            if len(raw) > LONGEST:
                raise Refused(f"{file}: a line of more than {LONGEST >> 20} MiB, after {offset} bytes: is it text?")
            yield offset, raw
            offset += len(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise Refused(f"{file}: damaged or cut off ({error}): pack it again") from None


def _texts() -> Parse:
    return lambda line, where: {"text": line}


def _columns() -> Parse:
    """Columns separated by tabs, in every line as many as in the first."""
    width = 0

    def parse(line: str, where: str) -> dict[str, Any]:
        nonlocal width
        columns = line.split("\t")
        width = width or len(columns)
        if len(columns) != width:
            raise Refused(f"{where}: expected {width} columns as in the first row, found {len(columns)}")
        return {str(number): column for number, column in enumerate(columns, start=1)}

    return parse


def _objects() -> Parse:
    """JSON objects, each with at least the keys of the first."""
    keys: set[str] = set()

    def parse(line: str, where: str) -> dict[str, Any]:
        found = foreign.parse(line, Any, where, said="expected a JSON object")
        if not isinstance(found, dict):
            raise Refused(f"{where}: expected a JSON object, found {type(found).__name__}")
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:  # a lone surrogate could not be written anywhere later
            raise Refused(f"{where}: expected a JSON object ({error})") from None
        if missing := keys - found.keys():
            raise Refused(f"{where}: lacks {', '.join(map(repr, sorted(missing)))}, which the first object has")
        keys.update(() if keys else found)
        return found

    return parse


_PARSERS: dict[str, Callable[[], Parse]] = {".tsv": _columns, ".jsonl": _objects, ".txt": _texts}


def _kind(file: Path) -> str:
    kind = Path(file.name.removesuffix(".gz")).suffix
    if kind not in _PARSERS:
        known = ", ".join(_PARSERS)
        raise Refused(
            f"{file}: cannot tell what its lines hold; expected a name that ends in {known}, or these and .gz"
        )
    return kind


def _state(file: Path) -> tuple[int, int]:
    """What changes when the file does."""
    try:
        state = file.stat()
    except (OSError, ValueError) as error:  # a name may hold a NUL
        raise Refused(f"could not open {file} ({getattr(error, 'strerror', error)})") from None
    if not stat.S_ISREG(state.st_mode):
        raise Refused(f"could not open {file} ({'Is a directory' if stat.S_ISDIR(state.st_mode) else 'it is no file'})")
    return state.st_size, state.st_mtime_ns


def _opened(file: Path) -> BinaryIO:
    opener: Any = gzip.open if file.name.endswith(".gz") else open
    try:
        return opener(file, "rb")
    except OSError as error:
        raise Refused(f"could not open {file} ({error.strerror})") from None
