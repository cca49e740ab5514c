"""Files that anybody may have written, read so that they stay data: of a bounded size, inside their folder, of a kind.

Nothing here runs what it reads, and whatever is wrong with it is refused in one line that names the file.
"""

import dataclasses
import json
import os
import stat
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flaxmask.names import Refused

MOST = 1 << 26
"""Bytes of a file of results (64 MiB); ours have a hundredth of that."""
DEEPEST = 50
"""Brackets within brackets that a JSON file may have; ours have 8."""
LARGEST = 1e100
"""The largest finite number in a file; what is beyond overflows where figures are drawn."""
MOST_INTEGER = 2**63 - 1


def contain(folder: Path, but: Collection[str] = ()):
    """Refuse a folder of which anything leads out of it, or is no file and no folder: a pipe could be read for ever.

    Args:
      folder: may be a link itself.
      but: names in it that are not looked at, since nothing of this project reads or writes there.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(root, onerror=_unreadable):
        folders[:] = [name for name in folders if Path(place) != root or name not in but]
        for name in (*folders, *files):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                if not _resolved(path).is_relative_to(root):
                    raise Refused(f"{path} is a link to what lies outside of {folder}: remove it")
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise Refused(f"{path} is no file and no folder: remove it")


def check_new(folder: Path):
    """Refuse a folder that holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} is not empty: name a new folder")


def _unreadable(error: OSError):
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise Refused(f"could not open {error.filename} ({error.strerror})")


def _resolved(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # a link to itself
        raise Refused(f"{link} is a link that leads nowhere: remove it") from None


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """The content of a regular file.

    Raises:
      FileNotFoundError: it is not there.
      Refused: it is something else, larger, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Refused(f"could not read {path} (it is no file)")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(f"could not read {path} ({error.strerror})") from None
    if len(content) > most:
        raise Refused(f"{path}: larger than the {most / 2**20:.0f} MiB that such a file may have")
    return content


def read_text(path: Path) -> str:
    """The same as text.

    Raises:
      FileNotFoundError: it is not there.
      Refused: see `read_bytes`; or it is no UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not readable (byte {error.start + 1} is no UTF-8)") from None


def parse(text: str, kind: Any, where: object, mend: str = "", said: str = "not readable") -> Any:
    """The value of a JSON text.

    Args:
      text: of one value; no key may stand twice in an object.
      kind: of the value, see `fault`.
      where: the text stands, for the message.
      mend: added to the message.
      said: of the text, in the message.

    Raises:
      Refused: the text is no JSON, is nested too deep, or the value is of another kind.
    """
    value = None
    try:
        value = json.loads(text, object_pairs_hook=_once)
        wrong = _too_deep(value) or fault(value, kind)
    except (ValueError, RecursionError) as error:
        wrong = "nested too deep" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
    if wrong:
        raise Refused(f"{where}: {said} ({wrong}){mend and f'; {mend}'}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {_short(next(name for name in names if names.count(name) > 1))} stands twice")
    return found


def _too_deep(value: Any) -> str:
    level = [value]
    for _ in range(DEEPEST):
        inner = (of.values() if isinstance(of, dict) else of for of in level if isinstance(of, dict | list))
        level = [one for of in inner for one in of if isinstance(one, dict | list)]
    return "nested too deep" if level else ""


def fault(value: Any, kind: Any, place: str = "") -> str:
    """The first place where a value is not of a kind, and what is expected there; "" where there is none.

    >>> fault({"rows": ["a", 1]}, dict[str, list[str]])
    'rows.1: expected str, found 1'

    Args:
      value: anything that JSON can say.
      kind: a type: `Any`, `None`, str, bool, int (of 64 bits), float (as are ints, NaN and infinity),
        lists, dicts, unions and literals of these, a TypedDict, whose values may have more keys than it, or a
        dataclass, whose values may have less.
      place: of the value, in dotted keys.
    """
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    within = lambda name: f"{place}.{name}".lstrip(".")
    if (typing.is_typeddict(kind) or dataclasses.is_dataclass(kind)) and isinstance(value, dict):
        hints = typing.get_type_hints(kind)
        if dataclasses.is_dataclass(kind) and (more := sorted(value.keys() - hints.keys())):
            return f"{within(more[0])} is unknown"
        missing = sorted(getattr(kind, "__required_keys__", set[str]()) - value.keys())
        found = (fault(value[name], hint, within(name)) for name, hint in hints.items() if name in value)
        return f"{within(missing[0])} is missing" if missing else next(filter(None, found), "")
    if origin is list and isinstance(value, list):
        return next(filter(None, (fault(one, of[0], within(str(i))) for i, one in enumerate(value))), "")
    if origin is dict and isinstance(value, dict):
        return next(filter(None, (fault(one, of[1], within(name)) for name, one in value.items())), "")
    if origin in (typing.Union, types.UnionType):
        good = any(not fault(value, one) for one in of)
    elif origin is typing.Literal:
        good = any(type(value) is type(one) and value == one for one in of)
    else:
        good = kind is Any or (origin is None and _is_plain(value, kind))
    return "" if good else f"{place}{place and ': '}expected {kind_name(kind)}, found {_short(value)}"


def _is_plain(value: Any, kind: Any) -> bool:
    if kind is float and type(value) in (int, float):
        return not LARGEST < abs(value) < float("inf")
    if kind is int and type(value) is int:
        return abs(value) <= MOST_INTEGER
    return value is None if kind in (None, type(None)) else type(value) is kind


def kind_name(kind: Any) -> str:
    """A type as people write it.

    >>> kind_name(int | None), kind_name(dict[str, float])
    ('int or None', 'dict of float')
    """
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, dict):
        return f"{origin.__name__} of {kind_name(of[-1])}"
    if of:
        return " or ".join(map(kind_name, of))
    if typing.is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return "dict"
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))


def _short(value: Any) -> str:
    """In a message: an int of a thousand digits cannot even be printed."""
    if isinstance(value, int) and abs(value) > MOST_INTEGER:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, dict | list):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}…{text[-1]}"


def check_name(name: str, what: str):
    """Refuse what cannot be a part of a file's name: it would lead elsewhere, or write into a terminal what it likes.

    A slash is allowed: such a row's files lie one folder deeper.
    """
    parts = name.split("/")
    if not (0 < len(name) <= 200 and name.isprintable()) or {"", ".", ".."} & set(parts):
        raise Refused(f"{what} {_short(name)}: cannot be the name of a file")
