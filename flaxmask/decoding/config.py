"""How answers are written where a model is judged. No jax here."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """Beam search, or greedy decoding where there is one beam."""

    beams: int = 1
    """Hypotheses that are followed at a time."""
    length_penalty: float = 1.0
    """Hypotheses are compared by the sum of their log-probabilities over their length to this power."""
    early_stopping: bool = True
    """Whether a source is done as soon as so many hypotheses have ended as there are beams; otherwise when none that
    is still being written could become better."""

    def __post_init__(self):
        if self.beams < 1:
            raise ValueError(f"beams: expected at least 1, got {self.beams}")
        if not math.isfinite(self.length_penalty):
            raise ValueError(f"length_penalty: expected a number, got {self.length_penalty}")
