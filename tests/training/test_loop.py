import dataclasses
import functools
import itertools
import json
import shutil

import grain
import jax
import numpy as np
import pytest

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.layouts import make_layout
from flaxmask.data.loader import Plan, batches
from flaxmask.names import Refused
from flaxmask.stopping import Stopped
from flaxmask.training import mishap, seal
from flaxmask.training.checkpoint import Checkpoints
from flaxmask.training.config import TrainingConfig
from flaxmask.training.loop import NORMS, SPIKE, Progress, train
from flaxmask.training.step import CompiledStep
from tests import toy
from tests.training.test_step import UPDATE, start

DATA = toy.examples(40)
PLAN = Plan(
    make_layout(DataConfig(layout="packed", batch_examples=8, pack_length=32), DATA.lengths),
    DATA.lengths,
    0,
    2,
)


def run(directory=None, stop_after=None, parallel="jit", plan="this one"):
    """Train on the plan, perhaps cut off; the last state, the progress and every loss."""
    losses = []

    def report(progress):
        losses.append(progress.loss)
        if len(losses) == stop_after:
            raise KeyboardInterrupt

    step = CompiledStep(UPDATE, parallel, jax.devices()[:1])
    arguments = (start(), batches(DATA, PLAN), step)
    try:
        if directory is None:
            state, progress = train(*arguments, report=report)
        else:
            with Checkpoints(directory) as kept:
                state, progress = train(*arguments, kept, 3, report, plan)
    except KeyboardInterrupt:
        return None, None, losses
    return state, progress, losses


@pytest.mark.parametrize("parallel", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_a_run_that_is_cut_off_goes_on_where_it_was(tmp_path, parallel):
    wanted, progress, losses = run(parallel=parallel)
    assert progress.steps == len(PLAN) == 10
    _, _, before = run(tmp_path, stop_after=8, parallel=parallel)
    state, resumed, after = run(tmp_path, parallel=parallel)
    assert before + after[2:] == losses, "checkpoint 6 was the newest of 3, 6: updates 7 and 8 are done again"
    for left, right in zip(jax.tree.leaves(state), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(left, right)
    assert (resumed.steps, resumed.real_tokens, resumed.slots) == (
        progress.steps,
        progress.real_tokens,
        progress.slots,
    )
    assert resumed.compile_count > progress.compile_count - 1


def test_a_finished_run_is_not_trained_again(tmp_path):
    state, progress, _ = run(tmp_path)
    again, same, losses = run(tmp_path)
    assert losses == []
    assert same == progress
    for left, right in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_checkpoint_of_another_plan_is_refused(tmp_path):
    run(tmp_path, stop_after=4)
    with pytest.raises(Refused, match="checkpoint at update 3 belongs to other data or another plan"):
        run(tmp_path, plan="another")
    assert run(tmp_path)[1].steps == len(PLAN), "and nothing was lost"


def test_every_real_token_is_counted():
    _, progress, _ = run()
    assert progress.real_tokens == 2 * DATA.lengths.sum(), "two epochs, both sides, end marks included"
    assert progress.slots >= progress.real_tokens
    assert progress.seconds > 0
    assert progress.tokens_per_second == progress.real_tokens / progress.seconds


def test_a_loss_that_is_no_number_stops_the_run():
    broken = functools.partial(UPDATE, apply=lambda params, batch, rng: toy.model().apply(params, batch) * np.nan)
    with pytest.raises(FloatingPointError, match="the loss of update 1 is nan"):
        train(start(), batches(DATA, PLAN), CompiledStep(broken, devices=jax.devices()[:1]))


def poisoned(*updates):
    """The batches of the plan, of which those of some updates have an infinite loss."""

    def build(i):
        batch = build_batch(DATA, PLAN[i])
        weights = np.where(batch.weights > 0, np.float32(np.inf), 0).astype(np.float32)
        return dataclasses.replace(batch, weights=weights) if i + 1 in updates else batch

    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    return iter(grain.MapDataset.range(len(PLAN)).map(build).to_iter_dataset(options))


def test_updates_that_are_no_numbers_are_left_out_and_counted(tmp_path):
    """In state, losses and curve; their batches are kept."""
    losses, step = [], CompiledStep(UPDATE, devices=jax.devices()[:1])
    watch = lambda params: {"sum": float(sum(x.sum() for x in jax.tree.leaves(params)))}
    how = {"watch": watch, "watch_every": 2, "on_nan": "skip", "aside": tmp_path / "nonfinite" / "row-0"}
    report = lambda progress: losses.append(progress.loss)
    state, progress = train(start(), poisoned(3, 4, 10), step, report=report, **how)
    assert (progress.steps, progress.skipped, progress.diverged_at) == (10, 3, None)
    assert np.isfinite(losses).all()
    assert len(losses) == 7
    assert progress.loss == losses[-1]
    assert [point["updates"] for point in progress.curve] == [2, 4, 6, 8, 10]
    assert progress.curve[0]["sum"] == progress.curve[1]["sum"]
    assert np.isnan(progress.curve[1]["training_loss"]), "there was none"
    assert progress.curve[4]["training_loss"] == losses[-1]
    assert sorted(p.name for p in (tmp_path / "nonfinite").iterdir()) == [f"row-0-{i}.npz" for i in (10, 3, 4)]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


def test_nothing_but_numbers_that_are_none_ends_the_run(monkeypatch):
    monkeypatch.setattr(mishap, "SKIPPED", 3)
    step = CompiledStep(UPDATE, devices=jax.devices()[:1])
    assert train(start(), poisoned(2, 3, 4), step, on_nan="skip")[1].skipped == 3
    with pytest.raises(FloatingPointError, match="update 5 "):
        train(start(), poisoned(2, 3, 4, 5), step, on_nan="skip")


def test_the_state_before_is_the_newest_checkpoint(tmp_path):
    """Between two of the regular ones; and the run stops there again, or goes on where the cause is gone."""
    wanted, _, losses = run()
    step, after = CompiledStep(UPDATE, devices=jax.devices()[:1]), []

    def go(*updates):
        report = lambda progress: after.append(progress.loss)
        with Checkpoints(tmp_path / "run") as kept:
            return train(start(), poisoned(*updates), step, kept, 3, report, aside=tmp_path / "row-0")[0]

    for _ in range(2):
        with pytest.raises(FloatingPointError, match=rf"update 6 is (nan|inf); its batch is in {tmp_path}/row-0-6.npz"):
            go(6)
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["3", "5"]
    jax.tree.map(np.testing.assert_array_equal, go(), wanted)
    assert after == losses, "each once: the second start stops at once"


def test_a_loss_that_is_no_number_may_be_recorded(tmp_path):
    """The row ends there, and again where it is resumed; the table goes on."""
    broken = functools.partial(UPDATE, apply=lambda params, batch, rng: toy.model().apply(params, batch) * np.nan)
    for _ in range(2):
        step = CompiledStep(broken, devices=jax.devices()[:1])
        with Checkpoints(tmp_path) as kept:
            state, progress = train(start(), batches(DATA, PLAN), step, kept, 3, on_nan="record")
        jax.tree.map(np.testing.assert_array_equal, state.params, start().params)
        assert (progress.diverged_at, progress.steps) == (1, 1)


def test_a_learning_curve_goes_on_where_it_was(tmp_path):
    """Points at their updates, each with the mean loss since the one before, cut off or not."""
    watched = []

    def curve(directory, stop_after=None):
        losses = []

        def report(progress):
            losses.append(progress.loss)
            if len(losses) == stop_after:
                raise KeyboardInterrupt

        def watch(params):
            watched.append(params)
            return {"loss": float(len(watched))}

        with Checkpoints(directory) as kept:
            step = CompiledStep(UPDATE, devices=jax.devices()[:1])
            _, progress = train(start(), batches(DATA, PLAN), step, kept, 3, report, watch=watch, watch_every=4)
        return progress.curve, losses

    whole, losses = curve(tmp_path / "whole")
    assert [point["updates"] for point in whole] == list(range(4, len(losses) + 1, 4))
    assert whole[1]["training_loss"] == pytest.approx(np.mean(losses[4:8]))
    with pytest.raises(KeyboardInterrupt):
        curve(tmp_path / "cut", stop_after=5)
    again, _ = curve(tmp_path / "cut")
    strip = lambda points: [(point["updates"], point["training_loss"]) for point in points]
    assert strip(again) == strip(whole)


def test_a_run_that_is_asked_to_stop_loses_nothing(tmp_path):
    """Asked after an update, whether a point of the curve is due there or not, or while that point is computed."""

    def go(directory, losses, stop_at=None, break_at=None):
        def watch(params):
            if len(losses) == break_at:
                raise Stopped
            return {"loss": float(sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(params)))}

        with Checkpoints(directory, TrainingConfig(average_epochs=2)) as kept:
            step = CompiledStep(UPDATE, devices=jax.devices()[:1])
            report = lambda progress: losses.append(progress.loss)
            how = {"watch": watch, "watch_every": 4, "keep_at": (8, 10), "stop": lambda update: update == stop_at}
            try:
                state, progress = train(start(), batches(DATA, PLAN), step, kept, 3, report, **how)
            except Stopped as stopped:
                return len(losses), kept.latest, str(stopped)
            curve = [(point["updates"], point["training_loss"], point["loss"]) for point in progress.curve]
            return [kept.chosen(state.params), state.opt_state], curve

    losses, again = [], []
    last, curve = go(tmp_path / "whole", losses)
    assert [updates for updates, _, _ in curve] == [4, 8]
    assert go(tmp_path / "cut", again, break_at=4) == (4, 4, "update 4 is saved")
    assert go(tmp_path / "cut", again, stop_at=7) == (7, 7, "update 7 is saved")
    assert go(tmp_path / "cut", again, stop_at=8) == (8, 8, "update 8 is saved")
    end, same = go(tmp_path / "cut", again)
    assert (again, same) == (losses, curve)
    jax.tree.map(np.testing.assert_array_equal, end, last)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("progress/metadata", '{"steps": "3"}', r"none of ours \(steps: expected int, found '3'\)"),
        ("progress/metadata", '{"__class__": 1}', r"none of ours \(__class__ is unknown\)"),
        ("progress/metadata", "{}", "is of 0 device"),
        ("data/process_0-of-1.json", '{"next_index": "x"}', "none of ours|not readable as a checkpoint"),
        ("data/process_0-of-1.json", '{"next": 1}', "not readable as a checkpoint"),
        ("data/process_0-of-1.json", "[1]", "expected dict of Any"),
    ],
)
def test_a_place_or_progress_that_was_tampered_with_is_refused(tmp_path, file, text, said):
    run(tmp_path, stop_after=5)
    (tmp_path / "3" / file).write_text(text)
    seal.seal(tmp_path / "3")
    with pytest.raises(Refused, match=said) as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda of: of.update(y=of["x"] | {"key_metadata": [{"key": "/etc/passwd"}]}),
            "'/etc/passwd' is an array that",
        ),
        (lambda of: of.pop("x"), "'step' is not named"),
        (lambda of: of["x"]["value_metadata"].update(value_type="os.system"), "no type of arrays called 'os.system'"),
    ],
)
def test_arrays_that_are_named_are_those_that_lie_there(tmp_path, change, said):
    """Before Orbax goes where a checkpoint's names lead."""
    run(tmp_path, stop_after=5)
    path = tmp_path / "3" / "state" / "_METADATA"
    whole = json.loads(path.read_text())
    leaves = whole["tree_metadata"]
    leaves["x"] = leaves.pop("('step',)")
    change(leaves)
    path.write_text(json.dumps(whole))
    seal.seal(tmp_path / "3")
    with pytest.raises(Refused, match=said):
        run(tmp_path)


def test_another_number_of_devices_is_refused(tmp_path):
    run(tmp_path, stop_after=5)
    step = CompiledStep(UPDATE, devices=jax.devices()[:2])
    with Checkpoints(tmp_path) as kept, pytest.raises(Refused, match=r"is of 1 device\(s\), here are 2"):
        train(start(), batches(DATA, PLAN), step, kept, 3)


def test_the_mean_of_the_last_epochs_is_that_of_their_parameters(tmp_path):
    """Cut off or not, in between or right behind one."""
    seen = {}

    def go(directory, stop=None):
        step = CompiledStep(UPDATE, devices=jax.devices()[:1])
        with Checkpoints(directory, TrainingConfig(average_epochs=3)) as kept:
            watch = lambda params: seen.update({len(seen) + 1: jax.tree.map(np.array, params)}) or {}
            report = lambda progress: (_ for _ in ()).throw(KeyboardInterrupt) if progress.steps == stop else None
            ends = (2, 5, 8, 10)
            state, _ = train(start(), batches(DATA, PLAN), step, kept, 3, report, "", watch, 1, keep_at=ends)
            return kept.chosen(state.params)

    mean = go(tmp_path / "whole")
    wanted = jax.tree.map(lambda *x: np.mean(np.array(x, np.float64), axis=0), *(seen[i] for i in (5, 8, 10)))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), mean, wanted)
    for i, stop in enumerate((6, 9)):
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / str(i), stop)
        jax.tree.map(np.testing.assert_array_equal, go(tmp_path / str(i)), mean)


def test_where_nothing_else_is_kept_the_last_is_chosen(tmp_path):
    with Checkpoints(tmp_path) as kept:
        assert kept.chosen({"x": 1}) == {"x": 1}


@pytest.mark.parametrize(("by", "best"), [("loss", 3), pytest.param("bleu", 5, marks=pytest.mark.slow)])
def test_the_best_point_of_the_curve_is_chosen(by, best, tmp_path):
    """Cut off or not; a point that is no number is not chosen."""
    values = [3.0, float("nan"), 1.0, 2.0, 4.0, 2.0, float("nan"), 3.5, 1.2, 1.5]
    seen = {}

    def go(directory, stop=None):
        def watch(params):
            step = next(count)
            seen[step] = jax.tree.map(np.array, params)
            return {by: values[step - 1]}

        step = CompiledStep(UPDATE, devices=jax.devices()[:1])
        with Checkpoints(directory, TrainingConfig(best_by=by, curve_every=1)) as kept:
            count = itertools.count(1 + (kept.latest or 0))
            report = lambda progress: (_ for _ in ()).throw(KeyboardInterrupt) if progress.steps == stop else None
            state, _ = train(start(), batches(DATA, PLAN), step, kept, 3, report, "", watch, 1, keep_at=(2, 5))
            return kept.chosen(state.params)

    whole = go(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, whole, seen[best])
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "cut", 9)
    jax.tree.map(np.testing.assert_array_equal, go(tmp_path / "cut"), whole)


@pytest.mark.parametrize("left", ["whole", "half"])
@pytest.mark.parametrize(
    ("config", "folder", "judged"),
    [
        (TrainingConfig(average_epochs=2), "epochs", 6.5),
        (TrainingConfig(best_by="loss", curve_every=1), "best", 8.0),
        (TrainingConfig(best_by="bleu", curve_every=1), "best", 8.0),
    ],
)
def test_what_a_killed_run_had_not_removed_is_not_judged(tmp_path, config, folder, judged, left):
    """It was killed behind the save of what is better or newer, before or while the old was deleted."""
    values = {"loss": {2: 3.0, 5: 2.0, 8: 1.0}, "bleu": {2: 1.0, 5: 2.0, 8: 3.0}}.get(config.best_by)
    with Checkpoints(tmp_path, config) as kept:
        for step in (2, 5, 8):
            metrics = values and {config.best_by: values[step]}
            kept.keep(step, {"w": np.full(2, step, np.float32)}, metrics)
            if step == 2:
                shutil.copytree(tmp_path / folder / "2", tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / folder / "2")
    for path in (tmp_path / folder / "2").rglob("*") if left == "half" else ():
        if path.is_file():
            path.unlink()
    with Checkpoints(tmp_path, config) as kept:
        chosen = kept.chosen({"w": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(chosen["w"], np.full(2, judged, np.float32))


def test_as_many_checkpoints_are_kept_as_are_asked_for(tmp_path):
    with Checkpoints(tmp_path, TrainingConfig(keep_checkpoints=3)) as kept:
        train(start(), batches(DATA, PLAN), CompiledStep(UPDATE, devices=jax.devices()[:1]), kept, 2)
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [6, 8, 10]


def test_a_spike_is_what_stands_out_of_the_updates_before_it():
    progress = Progress()
    for norm in [1.0] * (NORMS - 1) + [50.0]:
        progress.add_norm(norm)
    assert progress.spikes == 0, "of the first updates nobody knows what is usual"
    for norm in (SPIKE, SPIKE + 0.1, 1.0, 40.0):
        progress.add_norm(norm)
    assert progress.spikes == 2
    assert len(progress.norms) == NORMS
