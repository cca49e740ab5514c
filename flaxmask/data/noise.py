"""The noise of a masked language model, drawn anew each epoch and the same in every layout."""

import dataclasses
import functools
from typing import Literal

import numpy as np

from flaxmask.data.vocabulary import SPECIALS


@dataclasses.dataclass(frozen=True)
class MaskedTokens:
    """Hides tokens as BERT does (Devlin et al. 2019): of those asked for, 80 % become the mask, 10 % another
    token, 10 % stay.

    What happens to a token depends on seed, epoch, example and its place in the example alone, so it is the same
    whoever shares its row.

    Attributes:
      mask: id of the mask, the last of the vocabulary.
      rate: share of the tokens that are asked for; marks never are.
      seed: of the run.
      unit: what is asked for at once. token: each by itself. word: all pieces of a word. span: runs of tokens, their
        lengths geometric with p = 0.2 and at most 10 (Joshi et al. 2020).
      copies: how many ways each example is hidden, used in turn epoch after epoch; None hides it anew each time.
      starts: for each id one byte, 1 where a piece begins a word.
    """

    mask: int
    rate: float = 0.15
    seed: int = 0
    unit: Literal["token", "word", "span"] = "token"
    copies: int | None = None
    starts: bytes = b""

    def __call__(
        self, ids: np.ndarray, epoch: int, examples: np.ndarray, places: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids with the noise, and where a label counts.

        Args:
          ids: int `[tokens]`.
          epoch: which time the examples are seen.
          examples: int `[tokens]`, the example of each token.
          places: int `[tokens]`, its place in the example.

        Returns:
          int `[tokens]` and bool `[tokens]`.
        """
        epoch = epoch if self.copies is None else epoch % self.copies
        draw = lambda stream: uniform((self.seed, epoch, stream), examples, places)
        asked = self._asked(ids, epoch, examples, places) & (ids >= len(SPECIALS))
        kind = draw(1)
        other = len(SPECIALS) + (draw(2) * (self.mask - len(SPECIALS))).astype(ids.dtype)
        noisy = np.where(kind < 0.8, self.mask, np.where(kind < 0.9, other, ids))
        return np.where(asked, noisy, ids), asked

    def _asked(self, ids: np.ndarray, epoch: int, examples: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Which tokens are asked for, marks among them."""
        if self.unit == "token":
            return uniform((self.seed, epoch, 0), examples, places) < self.rate
        if self.unit == "word":
            # A word that a row's end cuts counts as two.
            begins = np.frombuffer(self.starts, bool)[ids] | (ids < len(SPECIALS))
            begins = begins | (np.diff(examples, prepend=-1) != 0) | (np.diff(places, prepend=-1) != 1)
            first = np.maximum.accumulate(np.where(begins, np.arange(len(ids)), 0))
            return uniform((self.seed, epoch, 0), examples, places[first]) < self.rate
        asked = np.zeros(len(ids), bool)
        for back in range(LONGEST_SPAN):
            start = places - back
            begins = (uniform((self.seed, epoch, 0), examples, start) < _span_rate(self.rate)) & (start >= 0)
            longer = uniform((self.seed, epoch, 3), examples, start) < _longer_than(back)
            asked |= begins & longer
        return asked


LONGEST_SPAN, SPAN_END = 10, 0.2
"""Tokens of a span at most, and the chance to end after each."""


def _longer_than(length: int) -> float:
    """Of a span's length, cut off at the longest: the chance that it is more."""
    rest = (1.0 - SPAN_END) ** LONGEST_SPAN
    return ((1.0 - SPAN_END) ** length - rest) / (1.0 - rest)


@functools.cache
def _span_rate(rate: float) -> float:
    """How often a span must begin, so that spans, which may overlap, cover this share of the tokens."""
    covered = lambda begins: 1.0 - np.prod([1.0 - begins * _longer_than(back) for back in range(LONGEST_SPAN)])
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if covered(middle) < rate else (low, middle)
    return high


def uniform(key: tuple[int, ...], *counters: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), a function of a key and of counters: the mixing steps of SplitMix64 (Steele et al. 2014).

    Args:
      key: any integers.
      *counters: ints `[N]`.

    Returns:
      float64 `[N]`.
    """
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            state = _mix(state + counter.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (state >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
