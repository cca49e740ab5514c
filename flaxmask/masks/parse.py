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
from flaxmask.masks.by_content import KNOWN
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


CONTENT: dict[str, Callable] = {function.__name__: function for function in KNOWN}
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


_SPACE = re.compile(r"\s*")
_TOKEN = re.compile(r"(?P<name>[A-Za-z_]\w*)|(?P<number>-?[0-9]+)|(?P<sign>[&|~(),])")
_TABLE = re.compile(r"\s*\(([0-9]{1,10}x[0-9]{1,10}:[A-Za-z0-9+/=]*)\)")

DEEPEST = 50
"""Brackets and `~` within each other. Formulas are printed, hashed and evaluated by recursion, too."""
SHOWN = 60
"""Characters of a text that a message shows."""


def parse(text: str) -> Mask:
    """Read a formula such as `causal & segment & ~window(8)`.

    Raises:
      ValueError: one line with the text, the place of the fault and, for an unknown name, the nearest one.
    """
    reader = _Reader(text)
    mask = reader.either()
    if reader.kind != "end":
        reader.fail(f"expected & or |, found {_short(reader.value)}")
    return mask


class _Reader:
    """Recursive descent over the tokens of a text."""

    def __init__(self, text: str):
        self.text, self.next, self.depth = text, 0, 0
        self.advance()

    def advance(self):
        """Step to the next token: its kind, its value and where it starts."""
        self.start = _SPACE.match(self.text, self.next).end()  # type: ignore[union-attr]
        match = _TOKEN.match(self.text, self.start)
        if self.start == len(self.text):
            self.kind, self.value = "end", "the end"
        elif match is None:
            self.fail(f"unexpected {self.text[self.start]!r}")
        else:
            self.kind, self.value = str(match.lastgroup), match[0]
            self.next = match.end()

    def fail(self, message: str, start: int | None = None) -> NoReturn:
        start = self.start if start is None else start
        raise ValueError(f"mask {_excerpt(self.text, start)}, character {start + 1}: {message}")

    def take(self, sign: str) -> bool:
        """Consume `sign` if it is next."""
        if self.kind != "sign" or self.value != sign:
            return False
        self.advance()
        return True

    def expect(self, sign: str):
        if not self.take(sign):
            self.fail(f"expected {sign!r}, found {_short(self.value)}")

    def either(self) -> Mask:
        return self.joined(formula.Or, "|", self.both)

    def both(self) -> Mask:
        return self.joined(formula.And, "&", self.one)

    def joined(self, kind: type[formula.And] | type[formula.Or], sign: str, term: Callable[[], Mask]) -> Mask:
        terms = [term()]
        while self.take(sign):
            terms.append(term())
        return formula.join(kind, terms) if len(terms) > 1 else terms[0]

    def one(self) -> Mask:
        start, inverted = self.start, self.take("~")
        if not inverted and not self.take("("):
            if self.kind != "name":
                self.fail(f"expected a mask, found {_short(self.value)}")
            return self.primitive()
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"more than {DEEPEST} brackets and ~ within each other", start)
        mask = ~self.one() if inverted else self.either()
        if not inverted:
            self.expect(")")
        self.depth -= 1
        return mask

    def primitive(self) -> Mask:
        name, start = self.value, self.start
        if name not in PRIMITIVES:
            self.fail(f"no mask is called {_short(name)}; {nearest(name, PRIMITIVES)}")
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
        match = _TABLE.match(self.text, self.next)
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
            self.fail(f"by: no mask by content is called {_short(name)}; {nearest(name, CONTENT)}")
        self.advance()
        self.expect(")")
        return formula.By(CONTENT[name])

    def arguments(self) -> list[int]:
        numbers = []
        while not self.take(")"):
            if numbers:
                self.expect(",")
            if self.kind != "number":
                self.fail(f"expected an integer, found {_short(self.value)}")
            if len(self.value) > 20:
                self.fail(f"expected an integer, found one of {len(self.value)} digits")
            numbers.append(int(self.value))
            self.advance()
        return numbers


def _excerpt(text: str, start: int) -> str:
    """What is around a place, where the text is long."""
    first = max(0, min(start, len(text)) - SHOWN // 2)
    before, after = "…" * (first > 0), "…" * (first + SHOWN < len(text))
    return f"{before}{text[first : first + SHOWN]!r}{after}" if len(text) > 2 * SHOWN else repr(text)


def _short(value: str) -> str:
    return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}…"


def _signature(kind: type[Mask]) -> str:
    fields = dataclasses.fields(kind)
    if not fields:
        return "no arguments and no brackets"
    shown = [f.name if f.default is dataclasses.MISSING else f"{f.name}={f.default}" for f in fields]
    return f"({', '.join(shown)})"
