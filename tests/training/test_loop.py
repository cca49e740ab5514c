import functools
import itertools
import json

import jax
import numpy as np
import pytest

from flaxmask.data.config import DataConfig
from flaxmask.data.layouts import make_layout
from flaxmask.data.loader import Plan, batches
from flaxmask.names import Refused
from flaxmask.training.checkpoint import Checkpoints
from flaxmask.training.config import TrainingConfig
from flaxmask.training.loop import train
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


def test_a_loss_that_is_no_number_may_be_recorded(tmp_path):
    """The row ends there, and again where it is resumed; the table goes on."""
    broken = functools.partial(UPDATE, apply=lambda params, batch, rng: toy.model().apply(params, batch) * np.nan)
    broken = functools.partial(broken, keep_finite=True)
    for _ in range(2):
        step = CompiledStep(broken, devices=jax.devices()[:1])
        with Checkpoints(tmp_path) as kept:
            state, progress = train(start(), batches(DATA, PLAN), step, kept, 3, record_nan=True)
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


def test_as_many_checkpoints_are_kept_as_are_asked_for(tmp_path):
    with Checkpoints(tmp_path, TrainingConfig(keep_checkpoints=3)) as kept:
        train(start(), batches(DATA, PLAN), CompiledStep(UPDATE, devices=jax.devices()[:1]), kept, 2)
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [6, 8, 10]
