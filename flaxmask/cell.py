"""One cell of a table: a row's configuration trained with one seed, measured and evaluated."""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from flaxmask import hosts, stopping, study
from flaxmask.attended import attended
from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.loader import batches
from flaxmask.decoding.config import DecodingConfig
from flaxmask.experiment import Config
from flaxmask.judge import Judged, audit_model, evaluate, few
from flaxmask.names import Missing, Refused
from flaxmask.plans import pack_lengths
from flaxmask.probe import ProbeConfig, probed
from flaxmask.reporting import counts, results
from flaxmask.reporting.tracking import Trackers
from flaxmask.setting import Setting, load_task
from flaxmask.training import loop
from flaxmask.training.checkpoint import Checkpoints
from flaxmask.training.mishap import fits
from flaxmask.training.optimizer import judged_params
from flaxmask.training.step import CompiledStep, TrainState

TRACKED = ("loss", "real_tokens", "seconds", "tokens_per_second")
"""Of the progress, what is written down after every update."""


_LAST: dict[str, Any] = {}
"""The last training, its row and what it was of: rows of a run that differ in decoding alone have one."""
STUDIED = 32
"""Examples in which visible cells are counted."""
MAPS = 20_000
"""Maps of memory from which on programs are let go; a cell adds some hundreds."""


def run_cell(
    config: Config, seed: int, parallel: str, kept: results.Kept, track: Sequence[str] = ()
) -> tuple[dict[str, float], dict[str, Any]]:
    """Train, measure, evaluate and audit; or pack or call a probe, where the row asks for no more.

    Goes on from the newest checkpoint of the cell. Beside it are kept what the audit found, the learning curve where
    one is asked for, and what its scores count in each example. Of several processes all train; the first does the
    rest, and keeps it.

    Returns:
      The cell's metrics; and what a line of results says beside them: samples that were asked for, and signatures.
    """
    if config.packing.lengths is not None:
        return hosts.here().at_first(lambda: pack_lengths(config.packing, config.data, load_task), shared=True), {}
    if config.probe.function is not None:
        return hosts.here().at_first(lambda: _probed(config.probe, kept), shared=True), {}
    _let_go()
    setting = _agreed(config, seed)
    same = kept.directory, dataclasses.replace(config, decoding=DecodingConfig()), seed, parallel
    if _LAST.get("of") != same or _LAST["row"] == kept.row:
        _LAST.clear()
        with _first(lambda: Trackers(kept, track)) as trackers:
            made = _train(setting, parallel, kept, kept.checkpoints, setting.state(), trackers)
        _LAST.update(of=same, row=kept.row, made=made)
    state, progress = _LAST["made"]
    found = hosts.here().at_first(lambda: _measured(setting, state, progress, kept))
    tuned = None if config.finetune.name is None else _finetune(config, seed, parallel, kept, state.params)
    return hosts.here().at_first(lambda: _put_down(found, tuned, kept)) or ({}, {})


def _let_go():
    """Let go the programs of earlier cells, before so many are held that the system ends the process.

    Linux allows 65,530 maps of memory, and a program takes some; until then a row's next seed finds its programs.
    """
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > MAPS:
        jax.clear_caches()


def _probed(config: ProbeConfig, kept: results.Kept) -> dict[str, float]:
    """The figures of a row that trains nothing; what its audit found is kept."""
    found = probed(config)
    if found.audit:
        results.write_whole(kept.audit.with_name(kept.audit.name + ".txt"), found.audit)
    return found.metrics


def _agreed(config: Config, seed: int) -> Setting:
    """What all processes make of a configuration and a seed, which is the same."""
    try:
        setting = Setting.of(config, seed, jax.device_count())
    except Missing:
        hosts.here().alike("data", "none")
        raise
    hosts.here().alike("data", setting.fingerprint)
    return setting


def _measured(
    setting: Setting, state: TrainState, progress: loop.Progress, kept: results.Kept
) -> tuple[dict[str, float], Judged]:
    """What there is to say of a trained model: its metrics, and what they are made of."""
    config = setting.config
    if progress.curve:
        results.write_whole(kept.curve, json.dumps(progress.curve, indent=1) + "\n")
    laid_out = setting.plan.report()
    results.write_whole(kept.lengths, json.dumps(setting.plan.by_length()) + "\n")
    task, model, params = setting.task, setting.model, jax.device_put(state.params)
    judged = evaluate(task, model, params, config.data, config.decoding, setting.seed)
    if (shown := attended(task, model, params, few(task, config.data))) is not None:
        results.write_whole(kept.attention, json.dumps(shown, separators=(",", ":"), ensure_ascii=False) + "\n")
    metrics = {
        "real_tokens_per_second": progress.tokens_per_second,
        "real_token_fraction": progress.real_tokens / progress.slots,
        "step_milliseconds": 1e3 * progress.seconds / progress.steps,
        "compile_count": progress.compile_count,
        "compile_seconds": progress.compile_seconds,
        "compile_cached": progress.compile_cached,
        "peak_memory_bytes": progress.peak_memory_bytes,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "updates": progress.steps,
        "real_tokens": progress.real_tokens,
        "flops": progress.flops,
        "train_seconds": progress.seconds,
        "training_loss": progress.loss,
        "gradient_spikes": progress.spikes,
        "rows": laid_out.rows,
        "shapes": len(laid_out.shapes),
        **task.counts,
        **judged.metrics,
        **audit_model(task, model, params, config.data, kept.audit),
    }
    if config.visible_flops:
        rows = study.first_rows(task, config.data, STUDIED)
        metrics["visible_flops"] = study.visible_flops(model, params, rows, config.model)
    if config.explained is not None:
        metrics |= study.explained(model, params, study.first_rows(task, config.data, config.explained))
    if progress.diverged_at is not None:
        metrics["diverged_at"] = progress.diverged_at
        for name in ("real_tokens_per_second", "step_milliseconds", "train_seconds", "training_loss"):
            del metrics[name]  # of too few updates, or no number
    if config.training.on_nan == "skip":
        metrics["skipped_updates"] = progress.skipped
    return metrics, judged


def _put_down(
    found: tuple[dict[str, float], Judged], tuned: np.ndarray | None, kept: results.Kept
) -> tuple[dict[str, float], dict[str, Any]]:
    """Keep what the scores count in each example; what a cell gives back."""
    metrics, judged = found
    if tuned is not None:
        judged.counts["finetuned_accuracy"] = tuned
        metrics["finetuned_accuracy"] = judged.metrics["finetuned_accuracy"]
    counts.write(kept.counts, judged.counts | {"length": judged.lengths})
    beside = {"samples": judged.samples, "signatures": judged.signatures}
    return metrics, {name: said for name, said in beside.items() if said}


def _train(
    setting: Setting,
    parallel: str,
    kept: results.Kept,
    checkpoints: Path,
    state: TrainState,
    trackers: Trackers | None = None,
) -> tuple[TrainState, loop.Progress]:
    """All updates of a setting, from the newest checkpoint where there is one."""
    training = setting.config.training
    here = hosts.here()
    step = CompiledStep(setting.update, parallel, jax.devices(), training.shard_parameters)
    iterator = batches(setting.task.train, setting.plan, setting.noise, here.index, here.count)
    averaged = training.average_epochs or 0

    def watch(params: Any) -> dict[str, float]:
        # Points of a curve are of greedy decoding: what is compared along it, beams would only delay.
        with stopping.at_once():
            return evaluate(setting.watched, setting.model, jax.device_put(params), setting.config.data).metrics

    with (
        stopping.deferred(),
        _first(lambda: Checkpoints(checkpoints, training)) as saved,
        _first(lambda: _Bar(checkpoints.name, len(setting.plan))) as bar,
    ):

        def report(progress: loop.Progress):
            if bar is not None:
                bar.show(progress)
            if trackers is not None:
                trackers.log(progress.steps, {name: getattr(progress, name) for name in TRACKED})

        state, progress = loop.train(
            state,
            iterator,
            step,
            saved,
            training.checkpoint_every,
            report,
            setting.fingerprint,
            lambda params: here.at_first(lambda: watch(params), shared=True),
            training.curve_every,
            training.on_nan,
            setting.plan.ends[-averaged:].tolist() if averaged else (),
            kept.nonfinite.with_name(checkpoints.name) if hosts.first() else None,
            here.asked,
            setting.plan.counted if here.count > 1 else None,
        )
        params = judged_params(state.params, state.opt_state)
        return state._replace(params=here.from_first(params if saved is None else saved.chosen(params))), progress


def _first(make: Callable[[], Any]) -> contextlib.AbstractContextManager[Any]:
    """What the first process alone has; None in the others."""
    return make() if hosts.first() else contextlib.nullcontext()


def _finetune(config: Config, seed: int, parallel: str, kept: results.Kept, trained: Any) -> np.ndarray | None:
    """What the accuracy of a classifier counts whose layers are those of a trained language model; of several processes
    the first knows it.
    """
    how = config.finetune
    data = DataConfig(
        name=str(how.name),
        tokenizer=config.data.tokenizer,
        vocabulary_size=config.data.vocabulary_size,
        vocabulary_of=config.data.vocabulary_of,
        length=config.data.length,
        batch_examples=how.batch_examples,
        train_examples=how.train_examples,
    )
    training = dataclasses.replace(
        config.training,
        epochs=how.epochs,
        learning_rate=how.learning_rate,
        warmup_steps=how.warmup_steps,
        schedule="cosine",
        curve_every=None,
        best_by=None,
    )
    setting = _agreed(Config(data, config.model, config.mask, training), seed)
    state = setting.state()
    state = state._replace(params=transfer(trained, state.params))
    checkpoints = kept.checkpoints.with_name(f"{kept}-finetune")
    state, _ = _train(setting, parallel, kept, checkpoints, state)
    judge = lambda: evaluate(setting.task, setting.model, jax.device_put(state.params), data).counts["accuracy"]
    return hosts.here().at_first(judge)


def transfer(trained: Any, fresh: Any) -> Any:
    """Fresh parameters with all that a trained model has under the same names, but for a head of its own.

    Of a longer embedding the first rows are taken: the mask is the last.

    Raises:
      Refused: parameters of one name that do not fit; the message names them.
    """
    old: dict[str, Any] = dict(flatten_dict(trained, sep="/"))

    def take(name: str, leaf: Any) -> Any:
        if name not in old or "head" in name.split("/"):
            return leaf
        rows = old[name][: len(leaf)] if name.endswith("embedder/embedding") else old[name]
        if rows.shape != leaf.shape:
            raise Refused(f"{name}: expected {list(leaf.shape)}, the trained model has {list(old[name].shape)}")
        return rows

    return unflatten_dict({name: take(name, leaf) for name, leaf in flatten_dict(fresh, sep="/").items()}, sep="/")


def estimate(config: Config, parallel: str, measured: int = 3) -> dict[str, float]:
    """What a cell will take: parameters, updates, the step's memory and, from a few real updates, the time."""
    devices = jax.local_devices()
    setting = Setting.of(config, 0, len(devices))
    step = CompiledStep(setting.update, parallel, devices, config.training.shard_parameters)
    state = step.place(setting.state())
    parameters = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(setting.params)))
    # The shape that most updates of the first epoch have.
    shapes = [placement.shape for placement in setting.plan.epoch(0)]
    common = max(set(shapes), key=shapes.count)
    build = functools.partial(build_batch, setting.task.train, noise=setting.noise)
    batch = build(setting.plan[shapes.index(common)])
    largest = max(shapes, key=lambda shape: shape.rows * (shape.source + shape.target))
    for shape in (largest, common):
        tried = build(setting.plan[shapes.index(shape)])
        with fits(tried):
            state, _ = jax.block_until_ready(step(state, tried))
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
            TextColumn("training loss {task.fields[loss]:.3f}  {task.fields[rate]:,.0f} tokens/s"),
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
