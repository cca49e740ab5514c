"""The gallery of masks, `docs/masks.md`: written by `python -m flaxmask.masks.gallery`, held to it by a test."""

import sys
from pathlib import Path

import numpy as np

from flaxmask.masks.drawing import draw
from flaxmask.masks.parse import parse
from flaxmask.tokens import Tokens

PAGE = Path("docs") / "masks.md"

ENTRIES = (
    ("full", "Everybody sees everything.", ""),
    ("padding", "Keys that are real, whoever asks.", ""),
    ("causal", "Keys at the query's position or before.", "Vaswani et al. 2017"),
    ("segment", "Keys of the query's own example. Padding sees nothing and is seen by nobody.", "Krell et al. 2021"),
    ("causal & segment", "A decoder, in padded and in packed rows.", ""),
    ("segment & (causal | prefix)", "A prefix-LM: the first two positions are flagged.", "Raffel et al. 2020"),
    ("segment & window(2, 2)", "Local attention, both ways.", "Beltagy et al. 2020"),
    ("causal & segment & window(2)", "Local attention of a decoder.", "Child et al. 2019"),
    ("causal & (window(2) | strided(3))", "Strided sparse attention.", "Child et al. 2019"),
    ("dilated(2, 2)", "A dilated window.", "Beltagy et al. 2020"),
    ("window(1, 1) | global_tokens(1)", "Longformer: local, with global tokens.", "Beltagy et al. 2020"),
    (
        "window(1, 1) | global_tokens(1) | random_blocks(2, 1)",
        "BigBird: local, global and random.",
        "Zaheer et al. 2020",
    ),
    ("~window(0, 0)", "Everybody but oneself.", ""),
)


def example() -> Tokens:
    """One packed row: examples of 5 and 4 tokens, and padding; the first two of each are flagged as prefix."""
    segments = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0]], np.int32)
    positions = np.array([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]], np.int32)
    return Tokens(segments, segments, positions, (positions < 2) & (segments > 0), "packed").check()


def row() -> Tokens:
    """One example of 10 tokens."""
    return Tokens.of(np.ones((1, 10), int), layout="rows")


def page() -> str:
    """The whole page."""
    parts = [
        "# Gallery of masks\n",
        "Written by `python -m flaxmask.masks.gallery`; a test holds the page to the code. ■ is a cell where the "
        "query (row) may attend to the key (column). Formulas that speak of examples or prefixes are drawn on a packed "
        "row, examples of 5 and 4 tokens and one slot of padding; the others on one example of 10. `blocks` says what "
        "is proved of blocks of 2 × 2 without looking at cells: how many are hidden, open, and neither.\n",
    ]
    for text, meaning, paper in ENTRIES:
        mask = parse(text)
        tokens = example() if {"segment", "prefix", "padding"} & set(text.replace("(", " ").split()) else row()
        cells = np.asarray(mask(tokens, tokens))
        states = np.asarray(mask.blocks(tokens, tokens, 2, 2))
        counts = ", ".join(f"{(states == s).sum()} {name}" for s, name in ((0, "hidden"), (2, "open"), (1, "neither")))
        drawn = draw(mask, tokens, tokens)
        source = f" {paper}." if paper else ""
        parts.append(
            f"## `{text}`\n\n{meaning}{source} Density {cells.mean():.2f}; blocks: {counts}.\n\n```text\n{drawn}\n```\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)
