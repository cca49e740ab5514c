"""One cell of a table: a row's configuration trained with one seed, measured and evaluated."""

import dataclasses
import functools
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import make_layout, round_up
from flaxmask.data.loader import Plan, batches
from flaxmask.data.tasks import Task, load_task
from flaxmask.data.vocabulary import BOS, EOS
from flaxmask.decoding.greedy import greedy
from flaxmask.evaluation.error_rates import sequence_error_rate, symbol_error_rate
from flaxmask.experiment import Config
from flaxmask.models.audited import Audited
from flaxmask.models.transformer import Transformer
from flaxmask.names import Refused
from flaxmask.reporting import results
from flaxmask.tokens import Array, Batch, Tokens
from flaxmask.training import loop
from flaxmask.training.checkpoint import Checkpoints
from flaxmask.training.loss import cross_entropy
from flaxmask.training.optimizer import make_optimizer
from flaxmask.training.step import CompiledStep, TrainState, train_step

AUDITED = 6
"""Examples of the batch that is audited."""

load_task = functools.lru_cache(maxsize=2)(load_task)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a configuration and a seed make: a task, a plan, a model, and an update to be compiled."""

    config: Config
    seed: int
    task: Task
    plan: Plan
    model: Transformer
    update: functools.partial

    @classmethod
    def of(cls, config: Config, seed: int, devices: int) -> "Setting":
        """Everything before the first number is computed."""
        task = load_task(_task_only(config.data))
        layout = make_layout(config.data, task.train.lengths, devices)
        _check_positions(config, task)
        plan = Plan(layout, task.train.lengths, seed, config.training.epochs)
        vocabularies = len(task.source_vocabulary), len(task.target_vocabulary)
        model = Transformer(config.model, config.mask, *vocabularies)
        optimizer = make_optimizer(config.training, len(plan))

        def apply(params: Any, batch: Batch, rng: Any) -> Any:
            return model.apply(params, batch, deterministic=False, rngs={"dropout": rng})

        update = functools.partial(
            train_step, apply=apply, optimizer=optimizer, label_smoothing=config.training.label_smoothing
        )
        return cls(config, seed, task, plan, model, update)

    def state(self) -> TrainState:
        """Before the first update: a function of the seed, whatever the layout."""
        return TrainState.create(self.params(), self.update.keywords["optimizer"], self.seed)

    def params(self) -> Any:
        """Initial parameters."""
        return _init(self.model, jax.random.PRNGKey(self.seed))


def _check_positions(config: Config, task: Task):
    """Refuse a table of learned positions that is too short for the examples, which would give NaN."""
    longest = int(max(task.train.lengths.max(), task.evaluation.lengths.max()))
    if config.model.positions == "learned" and longest > config.model.max_positions:
        raise Refused(f"model.max_positions={config.model.max_positions}: the longest example has {longest} tokens")


@functools.partial(jax.jit, static_argnums=0)
def _init(model: Transformer, rng: Any) -> Any:
    """Parameters depend on no batch: one slot is enough, and one program for every layout."""
    token = Tokens.of(np.ones((1, 1), np.int32))
    return model.init(rng, Batch(token, token))


def _task_only(data: DataConfig) -> DataConfig:
    """The settings of the data that a task depends on, so that rows which differ in layout share one."""
    names = ("task", "length", "train_examples", "evaluation_split", "evaluation_examples")
    return DataConfig(**{name: getattr(data, name) for name in names})


def run_cell(config: Config, seed: int, parallel: str, checkpoints: Path, audits: Path, label: str) -> dict[str, float]:
    """Train, measure, evaluate and audit. Goes on from the newest checkpoint in `checkpoints`.

    The audit's findings are kept under the name `audits`, with the endings .txt, .json and .png.
    """
    step_devices = jax.local_devices()
    setting = Setting.of(config, seed, len(step_devices))
    step = CompiledStep(setting.update, parallel, step_devices)
    state = setting.state()
    iterator = batches(setting.task.train, setting.plan)
    with Checkpoints(checkpoints) as kept, _Bar(label, len(setting.plan)) as bar:
        every = config.training.checkpoint_every
        state, progress = loop.train(state, iterator, step, kept, every, bar.show)
    return {
        "real_tokens_per_second": progress.tokens_per_second,
        "real_token_fraction": progress.real_tokens / progress.slots,
        "step_milliseconds": 1e3 * progress.seconds / progress.steps,
        "compile_count": progress.compile_count,
        "compile_seconds": progress.compile_seconds,
        "compile_cached": progress.compile_cached,
        "peak_memory_bytes": progress.peak_memory_bytes,
        "updates": progress.steps,
        "real_tokens": progress.real_tokens,
        "train_seconds": progress.seconds,
        "truncated_examples": setting.task.train.truncated + setting.task.evaluation.truncated,
        **evaluate(setting, state.params),
        **audit_model(setting, state.params, audits),
    }


def evaluate(setting: Setting, params: Any) -> dict[str, float]:
    """Loss in nats a token without smoothing, and PER and WER of greedy decoding, in percent."""
    task = setting.task
    length = round_up(int(task.train.lengths[:, 1].max()), 8)
    hypotheses = [""] * len(task.evaluation)
    total = count = 0.0
    # One layout for every row of a table, so that they are judged by the same programs.
    layout = make_layout(DataConfig(layout="bucketed", shapes=2, batch_examples=256), task.evaluation.lengths)
    for placement in layout.place(np.arange(len(task.evaluation)), task.evaluation.lengths):
        batch = build_batch(task.evaluation, placement)
        sums, written = _judge(setting.model, length, params, batch)
        total, count = total + float(sums[0]), count + float(sums[1])
        for [example], ids in zip(placement.rows, np.asarray(written), strict=False):
            hypotheses[example] = task.target_vocabulary.decode(ids.tolist())
    return {
        "loss": total / count,
        "per": symbol_error_rate(hypotheses, task.references),
        "wer": sequence_error_rate(hypotheses, task.references),
    }


def audit_model(setting: Setting, params: Any, kept: Path) -> dict[str, float]:
    """Every edge of the model in the row's own layout, its scores as trained and flat, and how far answers drift.

    Args:
      setting: the cell's.
      params: trained.
      kept: findings are written beside this name.
    """
    examples = setting.task.evaluation
    count = min(AUDITED, len(examples))
    # Few examples in the layout of the row; what a mask forgets shows itself in a small batch.
    data = dataclasses.replace(setting.config.data, batch_examples=count, shapes=1)
    [placement, *_] = make_layout(data, examples.lengths[:count]).place(np.arange(count), examples.lengths[:count])
    trained = Audited(setting.model, params, build_batch(examples, placement))
    report, flat = trained.check(), trained.flat().check()
    # Two of the commonest lengths, so that few shapes are compiled.
    _, of, counts = np.unique(examples.lengths, axis=0, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(of.reshape(-1) == np.argmax(counts))
    pair = alike[:2] if len(alike) > 1 else [0, len(examples) - 1]
    length = round_up(int(setting.task.train.lengths[:, 1].max()), 8)
    write = lambda source: np.asarray(_decode(setting.model, length, params, source)).tolist()
    drift = trained.drift([_shifted(examples, int(i)) for i in pair], write, pads=(5,))

    kept.parent.mkdir(parents=True, exist_ok=True)
    text = f"as trained: {report}\nwith flat scores: {flat}\n{drift}\n"
    results.write_whole(kept.with_name(kept.name + ".txt"), text)
    found = {"trained": report.to_json(), "flat": flat.to_json()}
    whole = {name: json.loads(text) for name, text in found.items()} | {"drift": dataclasses.asdict(drift)}
    results.write_whole(kept.with_name(kept.name + ".json"), json.dumps(whole, indent=1) + "\n")
    flat.figure().savefig(kept.with_name(kept.name + ".png"), dpi=150)
    # A sharp softmax underflows: what it never moved it may move after the next update.
    return {
        "leaks": len({leak[:5] for leak in (*report.leaks, *flat.leaks)}),
        "dead": len(flat.dead),
        "nan_outputs": len({*report.nan, *flat.nan}),
        "batch_drift": drift.largest,
    }


def _shifted(examples: Examples, i: int) -> dict[str, np.ndarray]:
    """One example as the model reads it: the source, and the target behind its beginning mark."""
    return {"source": examples.source[i], "target": np.asarray([BOS, *examples.target[i][:-1]])}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _decode(model: Transformer, length: int, params: Any, source: Tokens) -> Array:
    return decode(model, params, source, length)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _judge(model: Transformer, length: int, params: Any, batch: Batch) -> tuple[tuple[Array, Array], Array]:
    """Sums of the loss, and at most `length` tokens of greedy decoding a source."""
    logits: Any = model.apply(params, batch)
    sums = cross_entropy(logits, batch.labels, batch.weights)
    return sums, decode(model, params, batch.source, length)


def decode(model: Transformer, params: Any, source: Tokens, length: int) -> Array:
    """Greedy decoding of `source`, `[B, length]`."""
    cache = model.apply(params, source, length, method="start")
    step = lambda cache, tokens: model.apply(params, cache, tokens, method="step")
    return greedy(step, cache, source.shape[0], length, bos=BOS, eos=EOS)


def estimate(config: Config, parallel: str, measured: int = 3) -> dict[str, float]:
    """What a cell will take: parameters, updates, the step's memory and, from a few real updates, the time."""
    devices = jax.local_devices()
    setting = Setting.of(config, 0, len(devices))
    step = CompiledStep(setting.update, parallel, devices)
    state = step.place(setting.state())
    parameters = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(setting.params)))
    # The shape that most updates of the first epoch have.
    shapes = [setting.plan[i].shape for i in range(setting.plan.updates_per_epoch)]
    common = max(set(shapes), key=shapes.count)
    batch = build_batch(setting.task.train, setting.plan[shapes.index(common)])
    largest = max(shapes, key=lambda shape: shape.rows * (shape.source + shape.target))
    for shape in (largest, common):
        state, _ = step(state, build_batch(setting.task.train, setting.plan[shapes.index(shape)]))
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(measured):
        state, _ = step(state, batch)
        jax.block_until_ready(state)
    seconds = (time.perf_counter() - start) / measured
    compiling = step.compile_seconds / step.compile_count * len(set(shapes))
    return {
        "parameters": parameters,
        "updates": len(setting.plan),
        "shapes": len(set(shapes)),
        "peak_memory_bytes": step.peak_memory_bytes,
        "step_milliseconds": 1e3 * seconds,
        "seconds": seconds * len(setting.plan) + compiling,
    }


class _Bar:
    """A progress bar on stderr: loss, real tokens a second, time left."""

    def __init__(self, label: str, steps: int):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:,.0f} tokens/s"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task(label, total=steps, loss=float("nan"), rate=0.0)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def show(self, progress: loop.Progress):
        self._progress.update(self._task, completed=progress.steps, loss=progress.loss, rate=progress.tokens_per_second)
