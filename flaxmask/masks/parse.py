"""From text to formula: the inverse of `str`. A small grammar, read by hand; nothing is ever evaluated.

or    = and { "|" and }
and   = not { "&" not }
not   = "~" not | "(" or ")" | name [ "(" [ integer { "," integer } ] ")" ]
"""

import dataclasses
import re
from collections.abc import Callable
from typing import NoReturn

from flaxmask.masks import formula, positions
from flaxmask.masks.formula import Mask
from flaxmask.names import nearest

PRIMITIVES: dict[str, type[Mask]] = {
    kind.name(): kind
    for kind in (
        formula.Full,
        formula.Padding,
        positions.Causal,
        formula.Segment,
        formula.Prefix,
        positions.Window,
        positions.Strided,
        positions.Dilated,
        positions.GlobalTokens,
        positions.RandomBlocks,
        positions.Explicit,
        formula.By,
    )
}


def register(kind: type[Mask]) -> type[Mask]:
    """Let `parse` find masks of a new kind, under the name by which they are printed. For use as a decorator.

    Raises:
      ValueError: another kind has that name.
    """
    known = PRIMITIVES.setdefault(kind.name(), kind)
    if known is not kind and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"register: another kind of mask is called {kind.name()!r}")
    PRIMITIVES[kind.name()] = kind  # the same class anew, as a notebook's cell defines it twice
    return kind


CONTENT: dict[str, Callable] = {}
"""Functions of masks by content, by name."""


def content(function: Callable) -> formula.By:
    """Make a mask of `function(scores, query, key)`, under a name by which `parse` finds it.

    Raises:
      ValueError: another function has that name.
    """
    known = CONTENT.setdefault(function.__name__, function)
    if known is not function:
        raise ValueError(f"by: another mask by content is called {function.__name__!r}")
    return formula.By(function)


_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>-?\d+)|(?P<sign>[&|~(),]))")


def parse(text: str) -> Mask:
    """Read a formula such as `causal & segment & ~window(8)`.

    Raises:
      ValueError: one line with the text, the place of the fault and, for an unknown name, the nearest one.
    """
    reader = _Reader(text)
    mask = reader.either()
    if reader.kind != "end":
        reader.fail(f"expected & or |, found {reader.value!r}")
    return mask


class _Reader:
    """Recursive descent over the tokens of a text."""

    def __init__(self, text: str):
        self.text, self.next = text, 0
        self.advance()

    def advance(self):
        """Step to the next token: its kind, its value and where it starts."""
        rest = self.text[self.next :]
        match = _TOKEN.match(rest)
        self.start = self.next + len(rest) - len(rest.lstrip())
        if not rest.strip():
            self.kind, self.value = "end", "the end"
        elif match is None:
            self.fail(f"unexpected {rest.lstrip()[0]!r}")
        else:
            self.kind, self.value = str(match.lastgroup), match[str(match.lastgroup)]
            self.next += match.end()

    def fail(self, message: str, start: int | None = None) -> NoReturn:
        place = (self.start if start is None else start) + 1
        raise ValueError(f"mask {self.text!r}, character {place}: {message}")

    def take(self, sign: str) -> bool:
        """Consume `sign` if it is next."""
        if self.kind != "sign" or self.value != sign:
            return False
        self.advance()
        return True

    def expect(self, sign: str):
        if not self.take(sign):
            self.fail(f"expected {sign!r}, found {self.value!r}")

    def either(self) -> Mask:
        mask = self.both()
        while self.take("|"):
            mask = mask | self.both()
        return mask

    def both(self) -> Mask:
        mask = self.one()
        while self.take("&"):
            mask = mask & self.one()
        return mask

    def one(self) -> Mask:
        if self.take("~"):
            return ~self.one()
        if self.take("("):
            mask = self.either()
            self.expect(")")
            return mask
        if self.kind != "name":
            self.fail(f"expected a mask, found {self.value!r}")
        return self.primitive()

    def primitive(self) -> Mask:
        name, start = self.value, self.start
        if name not in PRIMITIVES:
            self.fail(f"no mask is called {name!r}; {nearest(name, PRIMITIVES)}")
        kind = PRIMITIVES[name]
        if kind is positions.Explicit:
            return self.explicit()
        self.advance()
        if kind is formula.By:
            return self.by()
        arguments = self.arguments() if self.take("(") else None
        fields = dataclasses.fields(kind)
        needed = sum(f.default is dataclasses.MISSING for f in fields)
        if (arguments is None) != (not fields) or not needed <= len(arguments or ()) <= len(fields):
            self.fail(f"{name} takes {_signature(kind)}", start)
        try:
            return kind(*(arguments or ()))
        except ValueError as error:
            self.fail(str(error), start)

    def explicit(self) -> Mask:
        """A table, whose digits are no tokens of this grammar."""
        match = re.compile(r"\s*\(([0-9]+x[0-9]+:[A-Za-z0-9+/=]*)\)").match(self.text, self.next)
        if match is None:
            self.fail("explicit takes (ROWSxCOLUMNS:base64), as it is printed")
        try:
            mask = positions.Explicit.read(match[1])
        except ValueError as error:
            self.fail(str(error))
        self.next = match.end()
        self.advance()
        return mask

    def by(self) -> Mask:
        """A function by content that was registered."""
        self.expect("(")
        name = self.value
        if name not in CONTENT:
            self.fail(f"by: no mask by content is called {name!r}; {nearest(name, CONTENT)}")
        self.advance()
        self.expect(")")
        return formula.By(CONTENT[name])

    def arguments(self) -> list[int]:
        numbers = []
        while not self.take(")"):
            if numbers:
                self.expect(",")
            if self.kind != "number":
                self.fail(f"expected an integer, found {self.value!r}")
            numbers.append(int(self.value))
            self.advance()
        return numbers


def _signature(kind: type[Mask]) -> str:
    fields = dataclasses.fields(kind)
    if not fields:
        return "no arguments and no brackets"
    shown = [f.name if f.default is dataclasses.MISSING else f"{f.name}={f.default}" for f in fields]
    return f"({', '.join(shown)})"
