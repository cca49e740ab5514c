"""The noise of a masked language model, drawn anew each epoch and the same in every layout."""

import dataclasses

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
    """

    mask: int
    rate: float = 0.15
    seed: int = 0

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
        draw = lambda stream: uniform((self.seed, epoch, stream), examples, places)
        asked = (draw(0) < self.rate) & (ids >= len(SPECIALS))
        kind = draw(1)
        other = len(SPECIALS) + (draw(2) * (self.mask - len(SPECIALS))).astype(ids.dtype)
        noisy = np.where(kind < 0.8, self.mask, np.where(kind < 0.9, other, ids))
        return np.where(asked, noisy, ids), asked


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
