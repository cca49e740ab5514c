"""What a configuration and a seed make before the first number is computed."""

import dataclasses
import functools
import hashlib
from typing import Any

import jax
import numpy as np

from flaxmask.data.config import DataConfig
from flaxmask.data.layouts import Layout, Packed, make_layout
from flaxmask.data.loader import Plan
from flaxmask.data.noise import MaskedTokens
from flaxmask.data.tasks import Task, load_task
from flaxmask.experiment import Config
from flaxmask.judge import check_labels
from flaxmask.models.audited import Model
from flaxmask.models.config import MaskConfig
from flaxmask.models.recurrent import RecurrentEncoderDecoder, RecurrentStack
from flaxmask.models.stack import Stack
from flaxmask.models.transformer import Transformer
from flaxmask.names import Refused
from flaxmask.tokens import Batch, Tokens
from flaxmask.training.optimizer import make_optimizer
from flaxmask.training.step import TrainState, train_step

load_task = functools.lru_cache(maxsize=4)(load_task)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a configuration and a seed make: a task, a plan, a model, and an update to be compiled."""

    config: Config
    seed: int
    task: Task
    plan: Plan
    model: Model
    update: functools.partial

    @classmethod
    def of(cls, config: Config, seed: int, devices: int) -> "Setting":
        """Everything before the first number is computed."""
        task = load_task(_task_only(config.data))
        layout = make_layout(config.data, task.train.lengths, devices)
        _check_positions(config, task, layout)
        check_labels(task)
        plan = Plan(layout, task.train.lengths, seed, config.training.epochs)
        model = make_model(config, task)
        optimizer = make_optimizer(config.training, len(plan))

        def apply(params: Any, batch: Batch, rng: Any) -> Any:
            return model.apply(params, batch, deterministic=False, rngs={"dropout": rng}, method="readout")

        update = functools.partial(
            train_step,
            apply=apply,
            optimizer=optimizer,
            label_smoothing=config.training.label_smoothing,
        )
        return cls(config, seed, task, plan, model, update)

    @property
    def watched(self) -> Task:
        """What points of the learning curve are judged on."""
        data = self.config.data
        if data.validation_split is None:
            return self.task
        return load_task(dataclasses.replace(_task_only(data), evaluation_split=data.validation_split))

    @property
    def noise(self) -> MaskedTokens | None:
        """The task's, seeded; None where it has none."""
        data = self.config.data
        how = {"seed": self.seed, "unit": data.mask_unit, "copies": data.mask_copies}
        return self.task.noise and dataclasses.replace(self.task.noise, **how)

    @property
    def fingerprint(self) -> str:
        """A hash of the stream of batches: of the plan, of the examples' ids, and of the noise on them."""
        parts = self.plan.fingerprint, self.task.train.fingerprint, repr(self.noise)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def state(self) -> TrainState:
        """Before the first update: a function of the seed, whatever the layout."""
        return TrainState.create(self.params(), self.update.keywords["optimizer"], self.seed)

    def params(self) -> Any:
        """Initial parameters: of one program for all rows of a table whose parameters have the same shapes."""
        config = self.config
        same = dataclasses.replace(config.model, mask_form=None, attention=None, dropout=0.0, attention_dropout=0.0)
        model = make_model(dataclasses.replace(config, model=same, mask=MaskConfig()), self.task)
        return _init(model, jax.random.PRNGKey(self.seed))


def make_model(config: Config, task: Task) -> Model:
    """An encoder-decoder for a task of two sides, a stack for one of one."""
    recurrent = config.architecture == "recurrent"
    if len(task.streams) == 2:
        if recurrent:
            return RecurrentEncoderDecoder(config.recurrent, config.mask, *task.sizes)
        return Transformer(config.model, config.mask, *task.sizes)
    [stream] = task.streams
    sizes = task.sizes[0 if stream == "source" else 1], task.sizes[1]
    pooled = config.data.known[0] == "classification"
    if recurrent:
        return RecurrentStack(config.recurrent, *sizes, stream, pooled)
    return Stack(config.model, config.mask, *sizes, stream, pooled)


def _check_positions(config: Config, task: Task, layout: Layout):
    """Refuse a table of learned positions that is too short for the examples, which would give NaN."""
    longest = int(max(task.train.lengths.max(), task.evaluation.lengths.max()))
    if isinstance(layout, Packed) and layout.shape.layout == "any":  # positions count on through the row
        longest = max(longest, layout.shape.source, layout.shape.target)
    if config.model.positions == "learned" and longest > config.model.max_positions:
        raise Refused(
            f"model.max_positions={config.model.max_positions}: the longest example or row has {longest} positions"
        )


@functools.partial(jax.jit, static_argnums=0)
def _init(model: Model, rng: Any) -> Any:
    """Parameters depend on no batch: one slot is enough, and one program for every layout."""
    token = Tokens.of(np.ones((1, 1), np.int32))
    return model.init(rng, Batch(token, token))


def _task_only(data: DataConfig) -> DataConfig:
    """The settings of the data that a task depends on, so that rows which differ in layout share one."""
    names = (
        *(
            "name",
            "path",
            "task",
            "source",
            "target",
            "tokenizer",
            "vocabulary_size",
            "vocabulary_of",
            "share_vocabulary",
        ),
        *("mask_rate", "shift", "length", "train_longest", "train_examples", "evaluation_split", "evaluation_examples"),
    )
    return DataConfig(**{name: getattr(data, name) for name in names})
