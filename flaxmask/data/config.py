"""What is read, how it is cut and how it is laid out. No jax here."""

import dataclasses
from typing import Literal

LayoutName = Literal["static", "dynamic", "bucketed", "packed"]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """A task's data and the layout of its batches."""

    task: Literal["g2p"] = "g2p"
    """g2p: letters to phonemes, on CMUdict."""
    layout: LayoutName = "packed"
    """static: every row at one length. dynamic: random batches at their longest. bucketed: batches of like
    length. packed: several examples a row."""
    batch_examples: int = 128
    """Examples an update; bucketed batches hold as many real tokens on average."""
    length: int | None = None
    """Longest source or target in tokens, end mark included: longer ones are cut, and counted. None takes the
    longest training example, rounded up to a multiple of 8."""
    shapes: int = 8
    """The most shapes that dynamic and bucketed batches take: each is compiled once."""
    pack_length: int | None = None
    """Slots of a packed row on its longer side; None takes twice the static length."""
    window: int = 64
    """Updates' worth of examples within which bucketed batches are sorted by length."""
    train_examples: int | None = None
    """The first so many examples of the training split; None takes all."""
    evaluation_split: Literal["validation", "test"] = "test"
    evaluation_examples: int | None = None
    """The first so many distinct sources of the evaluation split; None takes all."""

    def __post_init__(self):
        for name in (
            "batch_examples",
            "length",
            "shapes",
            "pack_length",
            "window",
            "train_examples",
            "evaluation_examples",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
