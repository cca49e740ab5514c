"""A trained model at work, from its checkpoint: in Python, and on the command line."""

import io
import json
import shutil

import jax
import numpy as np
import pytest

import run
from flaxmask.cell import run_cell
from flaxmask.decoding.config import DecodingConfig
from flaxmask.experiment import Run, find
from flaxmask.names import Refused
from flaxmask.translate import Translator
from tests.test_pages import SMALL

# A small training and its search are half a minute of compiling.
pytestmark = pytest.mark.slow
WORDS = ["cat", "", "abandon", "a", "  ", "zebra"]


def stdin(given: str | bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(given.encode() if isinstance(given, str) else given))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a small model that has seen a few words."""
    page, folder = find("g2p", run.EXPERIMENTS), tmp_path_factory.mktemp("g2p")
    said = SMALL | {"decoding.beams": "3", "training.average_epochs": "1", "training.label_smoothing": "0"}
    table = Run(page, "smoke", 1, folder, page.configs("smoke", said), only=("Transformer 4x4",))
    table.claim()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        table.run(run_cell, lambda: None)
    return folder / "checkpoints" / "Transformer 4x4-0"


@pytest.fixture(scope="module")
def translator(checkpoint):
    return Translator.load(checkpoint)


def test_every_line_is_answered_in_its_place(translator):
    answers = translator.translate(WORDS, nbest=2)
    assert [len(a) for a in answers] == [2] * len(WORDS)
    for word, (first, second) in zip(WORDS, answers, strict=True):
        if not word.strip():
            assert first.text == second.text == ""
            continue
        assert first != second
        [[alone]] = translator.translate([word])
        np.testing.assert_allclose(first.score, alone.score, rtol=1e-4)


def test_progress_ends_with_all_lines(translator):
    seen = []
    translator.translate(WORDS, progress=seen.append)
    assert seen[0] == 2, "those that are empty"
    assert seen[-1] == len(WORDS)
    assert translator.translate([]) == []


def test_what_is_drawn_for_a_text_is_its_own(translator):
    drawn = translator.generate(WORDS, max_length=6, seed=3)
    assert drawn[1] == drawn[4] == ""
    assert any(drawn)
    assert translator.generate([*WORDS[:3], "another", *WORDS[4:]], max_length=6, seed=3)[2] == drawn[2]
    assert translator.generate(WORDS, max_length=6, seed=4) != drawn
    assert isinstance(translator.generate("cat", max_length=6), str)
    assert all(len(text.split()) <= 6 for text in drawn)


def test_no_temperature_is_one_beam(translator):
    greedy = [a[0].text for a in translator.translate(WORDS, DecodingConfig())]
    length = max(len(text.split()) for text in greedy) + 1
    assert translator.generate(WORDS, length, temperature=0.0) == greedy


def test_long_lines_are_cut_and_named(translator):
    long = "a" * (translator.longest + 5)
    assert translator.cut([*WORDS, long]) == [len(WORDS) + 1]
    assert translator.translate([long])[0][0].text == translator.translate(["a" * (translator.longest - 1)])[0][0].text


def test_more_answers_than_beams_are_refused(translator):
    with pytest.raises(Refused, match=r"at most decoding\.beams=3, got 4: set decoding.beams"):
        translator.translate(WORDS, nbest=4)


def test_on_the_command_line(checkpoint, translator, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", stdin("\n".join(WORDS) + "\n"))
    assert run.main(["--translate", str(checkpoint), "--nbest", "2", "--scores"]) == 0
    out, err = capsys.readouterr()
    wanted = [one for answer in translator.translate(WORDS, nbest=2) for one in answer]
    assert out.splitlines() == [f"{one.score:.4f}\t{one.text}" for one in wanted]
    assert "lines" in err
    monkeypatch.setattr("sys.stdin", stdin(f"cat1é1\n\n{'b' * 40}\n123456789"))
    assert run.main(["--translate", str(checkpoint), "decoding.beams=1"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert out.splitlines()[1] == ""
    assert f"line 3 is longer than {translator.longest} tokens: cut" in err
    assert "run.py: line 1: the model does not know '1', 'é'\n" in err
    assert "run.py: line 4: the model does not know '1', '2', '3', '4', '5', '6' and 3 more\n" in err
    assert err.count("does not know") == 2
    monkeypatch.setattr("sys.stdin", stdin(b"cat\nz\xc3\xa9b\xffra\n"))
    assert run.main(["--translate", str(checkpoint)]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "run.py: stdin, line 2: not readable (character 4 is no UTF-8)\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows["Transformer 4x4"]["model"].update(d_model=16), r"is of another model: .* there"),
        (lambda rows: rows.pop("Transformer 4x4"), "has no row 'Transformer 4x4': its rows are LSTM with attention"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(checkpoint, tmp_path, change, message):
    run_ = tmp_path / "run"
    shutil.copytree(checkpoint.parent.parent, run_)
    settings = json.loads((run_ / "config.json").read_text())
    change(settings["rows"])
    (run_ / "config.json").write_text(json.dumps(settings))
    with pytest.raises(Refused, match=message):
        Translator.load(run_ / "checkpoints" / checkpoint.name)


def test_what_is_broken_is_not_translated_with(checkpoint, translator, tmp_path, monkeypatch, capsys):
    """A checkpoint is passed over, with a line; the parameters that the row is judged by are not done without."""
    monkeypatch.setattr("sys.stdin", stdin("cat\n"))
    run_ = tmp_path / "run"
    shutil.copytree(checkpoint.parent.parent, run_)
    broken = run_ / "checkpoints" / checkpoint.name
    newest = max(int(path.name) for path in broken.iterdir() if path.name.isdigit())
    (broken / str(newest) / "state" / "_METADATA").write_bytes(b"{")
    assert run.main(["--translate", str(broken)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{broken}/{newest} is broken: state/_METADATA does not hold what was saved" in err
    shutil.copytree(checkpoint, broken, dirs_exist_ok=True)
    [judged] = [path for path in (broken / "epochs").iterdir() if path.name.isdigit()]
    (judged / "default" / "_METADATA").unlink()
    assert run.main(["--translate", str(broken)]) == 2
    err = capsys.readouterr().err
    assert f"{judged} is broken: default/_METADATA is missing; the run is judged by it" in err


def test_what_is_no_checkpoint_is_refused(capsys, tmp_path):
    assert run.main(["--translate", str(tmp_path)]) == 2
    assert "is no checkpoint: expected a folder RUN/checkpoints/ROW-SEED" in capsys.readouterr().err
