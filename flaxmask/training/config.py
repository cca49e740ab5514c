"""How a model is trained. No jax here."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Optimiser, schedule, loss and what is kept."""

    epochs: int = 1
    optimizer: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = 1e-3
    """At the end of the warm-up."""
    schedule: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    """After the warm-up: falls with 1/√step, or along half a cosine to 0 at the last update, or stays."""
    warmup_steps: int = 100
    """Updates over which the rate rises from 0."""
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9
    """Adam's (Kingma & Ba 2015); RMSprop takes epsilon, and beta2 as its decay."""
    clip_norm: float | None = 1.0
    """Largest global norm of the gradients; None clips nothing."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over the vocabulary without the pad (Szegedy et al. 2016)."""
    checkpoint_every: int = 500
    """Updates between checkpoints; a run that is cut off goes on from the last one."""
    keep_checkpoints: int = 2
    """The newest so many are kept; where one is broken, the one before it is used."""
    average_epochs: int | None = None
    """Judge the mean of the parameters at the ends of so many last epochs; None judges those of the last update."""
    ema_decay: float | None = None
    """Judge a moving average of the parameters, which after each update is so much of itself and the rest of them;
    less in the beginning, when there is little to go by."""
    best_by: Literal["loss", "accuracy", "span_f1", "per", "wer", "bleu", "tokenised_bleu", "chrf"] | None = None
    """Judge the parameters of that point of the learning curve which is best by this metric; they are chosen on
    `data.validation_split`."""
    on_nan: Literal["stop", "skip", "record"] = "stop"
    """Where the loss or the gradients are no finite numbers: stop the run, or leave the update out and count it, or end
    this row's training there and record at which update. The batch is kept for study, the state as it was before."""
    shard_parameters: bool = False
    """Each device keeps a part of parameters and optimiser alone, and gathers the parameters for every update: less
    memory, the same numbers. Under `--parallel jit`."""
    curve_every: int | None = None
    """Updates between points of the learning curve, at each of which the model is judged; None draws none."""

    def __post_init__(self):
        for name in ("epochs", "checkpoint_every", "curve_every", "average_epochs", "keep_checkpoints"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if self.keep_checkpoints < 2:
            raise ValueError("keep_checkpoints: expected at least 2, of which one may be broken, got 1")
        asked = [name for name in ("average_epochs", "ema_decay", "best_by") if getattr(self, name) is not None]
        if len(asked) > 1:
            raise ValueError(f"{' and '.join(asked)}: only one set of parameters is judged, give one of them")
        if self.best_by is not None and self.curve_every is None:
            raise ValueError("best_by: set curve_every too, for the points to choose from")
        if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
            raise ValueError(f"ema_decay: expected 0 < decay < 1, got {self.ema_decay}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps: expected at least 0, got {self.warmup_steps}")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing: expected 0 ≤ share < 1, got {self.label_smoothing}")
        if not 0.0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate: expected more than 0, got {self.learning_rate}")
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}: expected 0 ≤ decay < 1, got {getattr(self, name)}")
        for name in ("epsilon", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name}: expected more than 0, got {value}")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """A classifier that starts from the layers of a trained language model, and is judged beside it."""

    name: str | None = None
    """Data set of its texts and labels; None trains none."""
    epochs: int = 3
    learning_rate: float = 5e-4
    warmup_steps: int = 50
    """Updates over which the rate rises from 0; then it falls along half a cosine."""
    batch_examples: int = 64
    train_examples: int | None = None
    """The first so many; None takes all."""

    def __post_init__(self):
        for name in ("epochs", "batch_examples", "train_examples", "warmup_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if not 0.0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate: expected more than 0, got {self.learning_rate}")
