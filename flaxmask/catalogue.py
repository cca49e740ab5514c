"""The experiments as a page of the documentation: `python -m flaxmask.catalogue > docs/experiments.md`."""

from flaxmask.commands import EXPERIMENTS
from flaxmask.experiment import SCALES, Experiment, find, names_in

LISTED = 8
"""Rows that are named."""

_HEAD = """# Experiments

Written by `python -m flaxmask.catalogue`; a test holds the page to the code. `python run.py --experiment NAME
--scale SCALE` fills the tables of one; times are of two CPU cores where nothing else is said. What came out stands in
[results](results.md), how to read it in [tables](tables.md).
"""


def catalogue() -> str:
    """Every experiment: its question, tables, rows, columns, and what each scale takes and gives."""
    pages = [find(name, EXPERIMENTS) for name in names_in(EXPERIMENTS)]
    return "\n".join([_HEAD, *map(_entry, pages)])


def _entry(page: Experiment) -> str:
    tables = [f"* Table of {len(part.rows)} rows: {part.title}" for part in page.parts]
    few, more = list(page.rows)[:LISTED], len(page.rows) - LISTED
    rows = "; ".join(few) + (f"; and {more} more" if more > 0 else "")
    lines = [
        f"## `{page.name}`\n",
        f"{page.title}\n",
        *tables,
        f"* Rows: {rows}.",
        *(f"* `{scale}`, {_seeds(page.seeds[scale])}: {page.expected[scale]}." for scale in SCALES),
        *([f"* Published: {page.published_by}."] if page.published_by else []),
    ]
    return "\n".join(lines) + "\n"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count > 1)}"


if __name__ == "__main__":
    print(catalogue(), end="")
