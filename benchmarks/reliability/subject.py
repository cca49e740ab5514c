"""A training run of some seconds as a process of its own, for what is done to it from outside.

python -m benchmarks.reliability.subject FOLDER UPDATES DEVICES [PARALLEL DROPOUT [PLACE]]

With a place, see `hosts.parse`, it is one of several processes, and the devices are its own.
It leaves `metrics.jsonl`, its checkpoints and, at its end, `final.json`: hashes of all that it has computed.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxmask import hosts, stopping
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.layouts import make_layout
from flaxmask.data.loader import Plan, batches
from flaxmask.data.vocabulary import EOS
from flaxmask.models.audited import EncoderDecoder
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.transformer import Transformer
from flaxmask.reporting import results
from flaxmask.reporting.tracking import Trackers
from flaxmask.training.checkpoint import Checkpoints
from flaxmask.training.config import TrainingConfig
from flaxmask.training.loop import Progress, train
from flaxmask.training.optimizer import make_optimizer
from flaxmask.training.step import CompiledStep, TrainState, train_step

SIZES = (17, 19)
MODEL = TransformerConfig(d_model=16, d_ffn=32, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.1)
# Most checkpoints lie between two points of the curve.
TRAINING = TrainingConfig(learning_rate=1e-2, warmup_steps=4, best_by="loss", curve_every=11, checkpoint_every=8)
KEPT = ("row", 0)
"""The row and the seed that its files are called by."""
ROWS = 8
"""The rows of a batch are a multiple of these, so that as many devices share it."""


def main(folder: Path, updates: int, devices: int, parallel: str = "jit", dropout: float = 0.1, place: str = ""):
    """Train, from the newest checkpoint where there is one."""
    jax.config.update("jax_num_cpu_devices", devices)
    with stopping.listening(), hosts.met(hosts.parse(place) if place else None):
        taken = jax.devices() if place else jax.local_devices()[:devices]
        train_on(taken, folder, updates, parallel, dropout)


def train_on(devices: list, folder: Path, updates: int, parallel: str, dropout: float):
    """The same once the processes have met."""
    here = hosts.here()
    examples = make_examples(160)
    data = DataConfig(layout="packed", batch_examples=16, pack_length=32)
    plan = Plan(make_layout(data, examples.lengths, ROWS), examples.lengths, 0, updates // 10)
    optimizer = make_optimizer(TRAINING, len(plan))
    model: EncoderDecoder = Transformer(dataclasses.replace(MODEL, dropout=dropout), MaskConfig(), *SIZES)

    def apply(params: Any, batch: Any, rng: Any) -> Any:
        return model.apply(params, batch, deterministic=False, rngs={"dropout": rng})

    update = functools.partial(train_step, apply=apply, optimizer=optimizer, label_smoothing=0.1)
    step = CompiledStep(update, "jit" if parallel == "sharded" else parallel, devices, shard=parallel == "sharded")
    iterator = batches(examples, plan, None, here.index, here.count)
    params = jax.jit(model.init)(jax.random.PRNGKey(0), batches(examples, plan).__next__())
    kept = results.Kept(folder, *KEPT)
    alone = lambda make: make() if hosts.first() else contextlib.nullcontext()
    with (
        stopping.deferred(),
        alone(lambda: Trackers(kept)) as trackers,
        alone(lambda: Checkpoints(kept.checkpoints, TRAINING)) as saved,
    ):

        def report(progress: Progress):
            if trackers is not None:
                trackers.log(progress.steps, {"loss": progress.loss, "real_tokens": progress.real_tokens})

        state, progress = train(
            TrainState.create(params, optimizer, 0),
            iterator,
            step,
            saved,
            TRAINING.checkpoint_every,
            report,
            plan.fingerprint,
            lambda params: here.at_first(lambda: watch(params), shared=True),
            TRAINING.curve_every,
            stop=here.asked,
            counted=plan.counted if here.count > 1 else None,
        )
        chosen = state.params if saved is None else saved.chosen(state.params)
    if hosts.first():
        put_down(folder, state, chosen, progress, iterator)


def put_down(folder: Path, state: TrainState, chosen: Any, progress: Progress, iterator: Any):
    """Hashes of all that was computed."""
    curve = [{name: value for name, value in point.items() if name != "seconds"} for point in progress.curve]
    found = {name: digest(tree) for name, tree in {**state._asdict(), "chosen": chosen}.items()}
    # Grain may hand its state on as bytes.
    found |= {"iterator": str(iterator.get_state()), "curve": curve, "platform": jax.default_backend()}
    results.write_whole(folder / "final.json", json.dumps(found) + "\n")


def make_examples(count: int) -> Examples:
    """Random pairs of ids with end marks."""
    rng = np.random.default_rng(0)
    side = lambda size: [*rng.integers(4, size, rng.integers(0, 9)).tolist(), EOS]
    return Examples.of(((side(SIZES[0]), side(SIZES[1])) for _ in range(count)), SIZES)


def watch(params: Any) -> dict[str, float]:
    """A point of the curve, better almost every time, so that the best parameters are replaced again and again."""
    return {"loss": -float(sum(np.abs(np.asarray(leaf)).sum() for leaf in jax.tree.leaves(params)))}


def digest(tree: Any) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    said = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        said.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode() + array.tobytes())
    return said.hexdigest()


if __name__ == "__main__":
    how: list[Any] = [Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5]]
    try:
        main(*how, *map(float, sys.argv[5:6]), *sys.argv[6:7])
    except stopping.Stopped as stopped:
        sys.exit(stopped.exit_code)
