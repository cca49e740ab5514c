"""A training run of some seconds as a process of its own, for what is done to it from outside.

python -m benchmarks.reliability.subject FOLDER UPDATES DEVICES

It leaves `metrics.jsonl`, its checkpoints and, at its end, `final.json`: hashes of all that it has computed.
"""

import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

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


def main(folder: Path, updates: int, devices: int):
    """Train, from the newest checkpoint where there is one."""
    jax.config.update("jax_num_cpu_devices", devices)
    examples = make_examples(160)
    data = DataConfig(layout="packed", batch_examples=16, pack_length=32)
    plan = Plan(make_layout(data, examples.lengths, ROWS), examples.lengths, 0, updates // 10)
    optimizer = make_optimizer(TRAINING, len(plan))
    model: EncoderDecoder = Transformer(MODEL, MaskConfig(), *SIZES)

    def apply(params: Any, batch: Any, rng: Any) -> Any:
        return model.apply(params, batch, deterministic=False, rngs={"dropout": rng})

    update = functools.partial(train_step, apply=apply, optimizer=optimizer, label_smoothing=0.1)
    step = CompiledStep(update, "jit", jax.local_devices()[:devices])
    iterator = batches(examples, plan)
    params = jax.jit(model.init)(jax.random.PRNGKey(0), batches(examples, plan).__next__())
    kept = results.Kept(folder, *KEPT)
    with Trackers(kept) as trackers, Checkpoints(kept.checkpoints, TRAINING) as saved:

        def report(progress: Progress):
            trackers.log(progress.steps, {"loss": progress.loss, "real_tokens": progress.real_tokens})

        state, progress = train(
            TrainState.create(params, optimizer, 0),
            iterator,
            step,
            saved,
            TRAINING.checkpoint_every,
            report,
            plan.fingerprint,
            watch,
            TRAINING.curve_every,
        )
        chosen = saved.chosen(state.params)
    curve = [{name: value for name, value in point.items() if name != "seconds"} for point in progress.curve]
    found = {name: digest(tree) for name, tree in {**state._asdict(), "chosen": chosen}.items()}
    # Grain may hand its state on as bytes.
    found |= {"iterator": str(iterator.get_state()), "curve": curve, "platform": step.devices[0].platform}
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
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
