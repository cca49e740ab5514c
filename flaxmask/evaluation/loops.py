"""Whether what was written comes to an end, and how much of it was written before; counted output by output."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int


def unending(written: Sequence[np.ndarray], eos: int) -> Int[np.ndarray, "N 2"]:
    """Whether an output has no end mark, and 1.

    >>> unending([np.array([5, 6, 2, 0]), np.array([5, 5, 5, 5])], eos=2).tolist()
    [[0, 1], [1, 1]]
    """
    return np.array([(eos not in ids, 1) for ids in written], np.int64).reshape(-1, 2)


def repeats(written: Sequence[np.ndarray], marks: Sequence[int], size: int = 4) -> Int[np.ndarray, "N 2"]:
    """Grams of `size` tokens that stood in the same output before, and all of them; marks are no tokens.

    >>> repeats([np.array([5, 6, 5, 6, 5, 6, 2, 0])], marks=(0, 2)).tolist()
    [[1, 3]]
    """
    counts = []
    for ids in written:
        tokens = ids[~np.isin(ids, marks)].tolist()
        found = grams(tokens, size)
        counts.append((len(found) - len(set(found)), len(found)))
    return np.array(counts, np.int64).reshape(-1, 2)


def grams(tokens: Sequence[Any], size: int) -> list[tuple[Any, ...]]:
    """All runs of `size` tokens, in their order."""
    return list(zip(*(tokens[start:] for start in range(size)), strict=False))
