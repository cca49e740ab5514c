"""Bytes to lines of text, strictly."""

from collections.abc import Iterable

from flaxmask.names import Refused


def decode(raw: bytes, file: object, number: int) -> str:
    """Line `number` (from 1) of a file as text, without the line feed, or carriage return and line feed, at its end.

    Raises:
      Refused: it is no UTF-8, or holds a NUL.
    """
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            f"{file}, line {number}: byte {error.start + 1} (0x{raw[error.start]:02x}) is no UTF-8: "
            "convert the file to UTF-8"
        ) from None
    if "\0" in text:
        raise Refused(f"{file}, line {number}: holds a NUL character, so it is no text: is it cut off, or UTF-16?")
    return text


def decode_all(content: bytes, file: object) -> list[str]:
    """The lines of a whole text.

    Only a line feed ends one: `str.splitlines` also breaks at U+2028, U+0085 and others that stand inside sentences.
    """
    rows = content.split(b"\n")
    if not rows[-1]:
        rows.pop()
    return [decode(row, file, number) for number, row in enumerate(rows, start=1)]


def in_step(left: list[str], right: list[str], files: Iterable[object]) -> list[tuple[str, str]]:
    """Lines of two files side by side.

    Raises:
      Refused: they are not equally many.
    """
    if len(left) != len(right):
        one, other = files
        raise Refused(f"{one} has {len(left)} lines and {other} has {len(right)}: they must run in step")
    return list(zip(left, right, strict=True))
