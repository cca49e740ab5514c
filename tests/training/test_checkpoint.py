"""What a run goes on from, and what it does not; every file and every damage is in `benchmarks/reliability/rot.py`."""

import errno
import shutil

import jax
import numpy as np
import pytest

from flaxmask.data.loader import batches
from flaxmask.names import Failed, Refused
from flaxmask.training import seal
from flaxmask.training.checkpoint import Checkpoints
from flaxmask.training.config import TrainingConfig
from flaxmask.training.loop import train
from flaxmask.training.step import CompiledStep
from tests.training.test_loop import DATA, PLAN
from tests.training.test_step import UPDATE, start

CONFIG = TrainingConfig(average_epochs=2, keep_checkpoints=3)
STEP = CompiledStep(UPDATE, devices=jax.devices()[:1])


def go_on(folder, said):
    """Train in a folder to the end; the parameters that are judged."""
    with Checkpoints(folder, CONFIG, said.append) as kept:
        state, _ = train(start(), batches(DATA, PLAN), STEP, kept, 3, keep_at=(5, 10))
        return jax.tree.map(np.asarray, kept.chosen(state.params))


def restored(folder, said):
    """The update that a run would go on from."""
    with Checkpoints(folder, CONFIG, said.append) as kept:
        found = kept.restore(start(), batches(DATA, PLAN))
    return found and int(found[0].step)


def refusal_to_judge(folder):
    with Checkpoints(folder, CONFIG) as kept, pytest.raises(Refused) as caught:
        kept.params(jax.eval_shape(start))
    return str(caught.value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, go_on(folder, [])


@pytest.fixture
def folder(trained, tmp_path):
    """Checkpoints at updates 6, 9 and 10, and the parameters of 5 and 10."""
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


def damage(folder):
    path = max((folder / "state" if (folder / "state").exists() else folder).rglob("*"), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    return path.name


def test_everything_is_sealed(folder):
    assert seal.steps(folder) == [6, 9, 10]
    assert seal.steps(folder / "epochs") == [5, 10]
    for path in (*(folder / str(step) for step in (6, 9, 10)), folder / "epochs" / "5", folder / "epochs" / "10"):
        assert seal.is_sealed(path)
        assert seal.fault(path) is None


def test_a_broken_checkpoint_is_passed_over_and_made_again(folder, trained):
    name, said = damage(folder / "10"), []
    found = go_on(folder, said)
    assert len(said) == 1
    assert all(text in said[0] for text in (f"{folder}/10", name, "the checkpoint at update 9 is used instead"))
    jax.tree.map(np.testing.assert_array_equal, found, trained[1])
    assert seal.fault(folder / "10") is None


def test_none_that_is_whole_is_refused(folder):
    for step in (6, 9, 10):
        damage(folder / str(step))
    with pytest.raises(Refused, match=r"/10 is broken.*/9 is broken.*/6 is broken.*no other checkpoint is left"):
        restored(folder, [])
    assert seal.steps(folder) == [6, 9, 10], "and nothing is removed"


def test_what_is_not_sealed_is_not_trusted_where_anything_is(folder):
    said = []
    (folder / "10" / seal.MANIFEST).unlink()
    assert restored(folder, said) == 9
    assert "/10 is not sealed; the checkpoint at update 9 is used instead" in said[0]


def test_what_an_older_version_left_is_used_and_sealed(folder):
    said = []
    for path in folder.rglob(seal.MANIFEST):
        path.unlink()
    (folder / "10" / "progress" / "metadata").write_text("{")
    assert restored(folder, said) == 9
    assert len(said) == 1
    assert "10 is not readable" in said[0]
    assert all(seal.is_sealed(folder / str(step)) for step in (6, 9))
    assert seal.is_sealed(folder / "epochs" / "5")


def test_an_empty_folder_and_half_a_save_are_no_checkpoints(folder):
    said = []
    for name in ("11", "13.orbax-checkpoint-tmp"):
        (folder / name).mkdir()
    (folder / "13.orbax-checkpoint-tmp" / "file").write_bytes(b"half")
    assert restored(folder, said) == 10
    assert said == []
    assert {path.name for path in folder.iterdir()} == {"6", "9", "10", "epochs"}


def test_parameters_that_a_run_is_judged_by_are_not_done_without(folder, trained):
    name = damage(folder / "epochs" / "5")
    said = refusal_to_judge(folder)
    assert f"{folder}/epochs/5 is broken" in said
    assert name in said
    shutil.rmtree(folder / "epochs" / "5")
    assert "epochs/5 is missing; the run is judged by it" in refusal_to_judge(folder)
    damage(folder / "10")
    damage(folder / "epochs" / "10")
    shutil.copytree(trained[0] / "epochs" / "5", folder / "epochs" / "5")
    assert "epochs/10 is broken" in refusal_to_judge(folder), "an older checkpoint does not know of it"
    shutil.rmtree(folder / "epochs" / "5")
    with pytest.raises(Refused, match=r"epochs/5 is missing.*no other checkpoint is left"):
        restored(folder, [])


@pytest.mark.slow
def test_parameters_that_can_be_made_again_are(folder, trained):
    said = []
    damage(folder / "epochs" / "10")
    jax.tree.map(np.testing.assert_array_equal, go_on(folder, said), trained[1])
    assert "epochs/10 is broken" in said[0]
    assert "update 9 is used instead" in said[0]


def test_what_is_judged_is_read_past_a_broken_checkpoint(folder, trained):
    said = []
    damage(folder / "10")
    with Checkpoints(folder, CONFIG, said.append) as kept:
        jax.tree.map(np.testing.assert_array_equal, kept.params(jax.eval_shape(start)), trained[1])
    assert "update 9 is used instead" in said[0]
    assert seal.steps(folder) == [6, 9, 10], "who only reads removes nothing"


@pytest.mark.parametrize("fail_at", [6, 10], ids=["in between", "the last"])
def test_a_save_that_fails_is_said(tmp_path, monkeypatch, fail_at):
    """Orbax says it at the next save: that of the last one, nobody would hear."""
    real = seal.seal

    def full(folder):
        if folder.name == str(fail_at):
            raise OSError(errno.ENOSPC, "No space left on device")
        # An older checkpoint goes when the new one is sealed, not before.
        assert len(seal.steps(folder.parent)) <= 3
        real(folder)

    monkeypatch.setattr(seal, "seal", full)
    said = f"{tmp_path} cannot be written .No space left on device; "
    with pytest.raises(Failed, match=said), Checkpoints(tmp_path) as kept:
        train(start(), batches(DATA, PLAN), STEP, kept, 3)
    assert max(step for step in seal.steps(tmp_path) if seal.is_sealed(tmp_path / str(step))) == {6: 3, 10: 9}[fail_at]


def test_two_that_are_sealed_are_there_at_any_time(tmp_path, monkeypatch):
    real, seen = seal.seal, []

    def watched(folder):
        seen.append(sum(seal.is_sealed(folder.parent / str(step)) for step in seal.steps(folder.parent)))
        real(folder)

    monkeypatch.setattr(seal, "seal", watched)
    with Checkpoints(tmp_path) as kept:
        train(start(), batches(DATA, PLAN), STEP, kept, 2)
    assert seen == [0, 1, 2, 2, 2]
    assert seal.steps(tmp_path) == [8, 10]
