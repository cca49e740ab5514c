"""How answers are written where a model is judged. No jax here."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """Beam search, greedy decoding where there is one beam, or samples where there is a temperature."""

    beams: int = 1
    """Hypotheses that are followed at a time."""
    length_penalty: float = 1.0
    """Hypotheses are compared by the sum of their log-probabilities over their length to this power."""
    early_stopping: bool = True
    """Whether a source is done as soon as so many hypotheses have ended as there are beams; otherwise when none that
    is still being written could become better."""
    temperature: float | None = None
    """Samples are drawn, from logits divided by this, 0 takes the likeliest; None draws none."""
    top_k: int = 0
    """Samples are drawn from so many likeliest tokens; 0 leaves all."""
    top_p: float = 1.0
    """Samples are drawn from as few likeliest tokens as have this probability together."""
    samples: int = 8
    """Drawn for each source."""

    def __post_init__(self):
        if self.temperature is None and (self.top_k, self.top_p) != (0, 1.0):
            raise ValueError("top_k and top_p narrow what is drawn: set temperature too")
        if self.temperature is not None and self.beams > 1:
            raise ValueError(f"temperature={self.temperature}: samples are drawn without beams, got {self.beams} beams")
        if self.samples < 2:
            raise ValueError(f"samples: expected at least 2, which are compared, got {self.samples}")
        if self.beams < 1:
            raise ValueError(f"beams: expected at least 1, got {self.beams}")
        if not math.isfinite(self.length_penalty):
            raise ValueError(f"length_penalty: expected a number, got {self.length_penalty}")
