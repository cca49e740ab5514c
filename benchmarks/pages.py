"""Tables of figures, written into the pages of `docs/` between the marks that name them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], texts: int = 1) -> list[str]:
    """A table in Markdown; all but the first columns are numbers.

    >>> table(["what", "ms"], [["a", 1]])
    ['| what | ms |', '| --- | ---: |', '| a | 1 |']
    """
    marks = ["---" if i < texts else "---:" for i in range(len(header))]
    return ["| " + " | ".join(map(str, row)) + " |" for row in (header, marks, *rows)]


def filled(text: str, tables: Mapping[str, Sequence[str]]) -> str:
    """A page with these lines in the places of those that it has, each between its name and an end."""
    for name, lines in tables.items():
        before, rest = text.split(f"<!-- {name} -->\n")
        text = f"{before}<!-- {name} -->\n" + "\n".join(lines) + "\n\n<!-- end" + rest.split("<!-- end", 1)[1]
    return text


def fill(name: str, tables: Mapping[str, Sequence[str]]):
    """Write them into a page of `docs/`."""
    path = DOCS / name
    path.write_text(filled(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
