"""Runs that are killed, cut short and lied to: what is left of them, counted.

Each module here has functions that do something to real runs and give back `Outcome`s; slow tests call them and hold
them, and `python -m benchmarks.reliability` writes them into `docs/reliability.md`.
"""

from typing import NamedTuple


class Outcome(NamedTuple):
    """One line of the table.

    Attributes:
      what: was done to a run, and what should come of it.
      asked: what it takes to hold.
      reached: what was counted.
      held: whether it holds.
    """

    what: str
    asked: str
    reached: str
    held: bool
