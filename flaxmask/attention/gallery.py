"""The gallery of masks, `docs/masks.md`: written by `python -m flaxmask.attention.gallery`, held to it by a test."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask.attention.blockwise import BLOCK_K, BLOCK_Q
from flaxmask.attention.call import Call
from flaxmask.attention.dispatch import IMPLEMENTATIONS
from flaxmask.masks.drawing import draw
from flaxmask.masks.formula import Mask
from flaxmask.masks.parse import parse
from flaxmask.tokens import Layout, Tokens

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


def long(layout: Layout) -> Tokens:
    """4,096 tokens, in one example or in examples of 256."""
    slots = np.arange(4096, dtype=np.int32)[None]
    segments, positions = (slots * 0 + 1, slots) if layout == "rows" else (slots // 256 + 1, slots % 256)
    prefix = positions < 64
    return Tokens(segments, segments, positions, prefix, layout).check()


def computed(mask: Mask, tokens: Tokens) -> float:
    """The part of blocks that are not proved hidden."""
    return float((np.asarray(mask.blocks(tokens, tokens, BLOCK_Q, BLOCK_K)) > 0).mean())


def native(mask: Mask) -> str:
    """Which kernels need no array of queries by keys."""
    shape = jax.ShapeDtypeStruct((1, 4096, 4, 64), jnp.bfloat16)
    found = []
    for name, platform in (("splash", "tpu"), ("cudnn", "gpu")):
        layouts = []
        for layout in ("rows", "packed"):
            tokens = long(layout)
            call = Call(shape, shape, mask, tokens, tokens, None, 0.0, platform)
            implementation = IMPLEMENTATIONS[name]
            if not implementation.refuses(call) and not implementation.lowering(call).built:
                layouts.append(layout)
        found += [f"`{name}` in {' and '.join(layouts)}"] if layouts else []
    return f"Native to {', '.join(['`blockwise`', *found])}"


def page() -> str:
    """The whole page."""
    parts = [
        "# Gallery of masks\n",
        "Written by `python -m flaxmask.attention.gallery`; a test holds the page to the code. ■ is a cell where the "
        "query (row) may attend to the key (column). Formulas that speak of examples or prefixes are drawn on a packed "
        "row, examples of 5 and 4 tokens and one slot of padding; the others on one example of 10. Cost is the part of "
        "all blocks (256 queries × 512 keys) that `blockwise` computes at 4,096 tokens, in one example and in a packed "
        "row of examples of 256; what it skips is proved from bounds, without looking at cells. A kernel takes a mask "
        "natively if nothing of the size queries × keys is built for it; `xla` and `reference` build the mask of all, "
        "and `blockwise` of none. "
        "`splash` and `cudnn` are asked with bfloat16 in self-attention, on a row of one example (`rows`) and on a "
        "packed row (`packed`).\n",
    ]
    for text, meaning, paper in ENTRIES:
        mask = parse(text)
        tokens = example() if {"segment", "prefix", "padding"} & set(text.replace("(", " ").split()) else row()
        cells = np.asarray(mask(tokens, tokens))
        one, many = (computed(mask, long(layout)) for layout in ("rows", "packed"))
        drawn = draw(mask, tokens, tokens)
        source = f" {paper}." if paper else ""
        parts.append(
            f"## `{text}`\n\n{meaning}{source} Density here {cells.mean():.2f}; cost {one:.2f} in one example, "
            f"{many:.2f} packed. {native(mask)}.\n\n```text\n{drawn}\n```\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)
