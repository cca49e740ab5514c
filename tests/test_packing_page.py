import dataclasses
import json
import time

import jax
import pytest

import run
from experiments.packing import EXPERIMENT
from flaxmask.data.config import DataConfig
from flaxmask.data.sources.length_histograms import BERT
from flaxmask.experiment import Run
from flaxmask.plans import pack_lengths
from flaxmask.reporting import report
from flaxmask.setting import load_task
from tests.data.sources.published import need

CONFIGS = EXPERIMENT.configs("quick", {})
FAST = [row for row in EXPERIMENT.published if "nnlshp" not in row]
SLOW = [row for row in EXPERIMENT.published if "nnlshp" in row]


def rounded(row: str) -> dict[str, str]:
    """Our figures, with the digits that were published."""
    config = CONFIGS[row]
    found = pack_lengths(config.packing, config.data, load_task)
    return {
        name: f"{found[name]:.{len(figure.partition('.')[2])}f}" for name, figure in EXPERIMENT.published[row].items()
    }


def test_every_published_figure_is_reproduced_in_five_seconds():
    need(BERT)
    start = time.process_time()
    assert {row: rounded(row) for row in FAST} == {row: EXPERIMENT.published[row] for row in FAST}
    assert time.process_time() - start < 5.0
    assert len(FAST) == 22


@pytest.mark.slow
def test_least_squares_is_reproduced_in_a_minute():
    need(BERT)
    start = time.perf_counter()
    assert {row: rounded(row) for row in SLOW} == {"wikipedia, nnlshp, depth 3": EXPERIMENT.published[SLOW[0]]}
    assert time.perf_counter() - start < 60.0


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A text of few words, as a file for each split."""
    folder = tmp_path_factory.mktemp("texts")
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    lines = [" ".join(words[i % 7 : i % 7 + 2 + i % 5]) for i in range(200)]
    for split in ("train", "test"):
        (folder / f"{split}.txt").write_text("\n".join([*lines, "", "  "]))
    return str(folder / "{split}.txt")


ROWS = ("wikipedia, lpfhp, depth 3", "training data, padded", "training data, lpfhp", "packed, neither")


@pytest.fixture(scope="module")
def filled(texts, tmp_path_factory):
    """A few rows of every part, on that text."""
    need(BERT)
    left_out = {"smoke": tuple(row for row in EXPERIMENT.rows if row not in ROWS)}
    page = dataclasses.replace(EXPERIMENT, left_out=left_out)
    said = {"data.path": texts, "data.task": "mlm", "data.tokenizer": "words", "data.length": "16"}
    table = Run(page, "smoke", 1, tmp_path_factory.mktemp("packing"), page.configs("smoke", said))
    table.claim()
    from flaxmask.cell import run_cell

    with pytest.MonkeyPatch.context() as patch:  # a program for several devices takes twice as long to compile
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        table.run(run_cell, lambda: None)
    report.write(table.workdir)
    return table.workdir


def read(filled):
    lines = [json.loads(line) for line in (filled / "results.jsonl").read_text().splitlines()]
    return {(line["row"], line["seed"]): line["metrics"] for line in lines}


def test_each_part_has_its_table(filled):
    text = (filled / "table.md").read_text()
    first, second, third = text.split("\n# ")
    assert "| wikipedia, lpfhp, depth 3 | 9,090,154 | 89.4855 | 89.4855 | 0 | 1.79090 | 1.79090 | 0 |" in first
    assert "| reproduced |" in first
    assert "published: Krell et al. 2021" in first
    assert "verdict" not in second + third
    assert "training data, lpfhp" in second
    assert "packed, neither" in third


def test_packing_alone_has_one_seed(tmp_path):
    cells = Run(EXPERIMENT, "quick", 3, tmp_path, CONFIGS).cells()
    seeds = {row: [seed for r, seed in cells if r == row] for row in ROWS}
    assert seeds["training data, lpfhp"] == [0]
    assert seeds["packed, neither"] == [0, 1, 2]


def test_without_the_block_mask_examples_read_each_other(filled):
    found = read(filled)
    assert found["packed, neither", 0]["leaks"] > 100
    assert found["packed, neither", 0]["batch_drift"] > 1e-3
    assert found["packed, neither", 0]["skipped_examples"] == 4, "an empty and a blank line in each split"


def test_rows_whose_data_is_missing_are_named_and_the_others_filled(texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("flaxmask.data.sources.files.folders", lambda: [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("flaxmask.data.sources.files._fetch", _no_network)
    left_out = {"smoke": tuple(row for row in EXPERIMENT.rows if row not in ROWS[:3])}
    monkeypatch.setattr("experiments.packing.EXPERIMENT", dataclasses.replace(EXPERIMENT, left_out=left_out))
    command = ["--experiment", "packing", "--scale", "smoke", "--workdir", str(tmp_path / "run")]
    assert run.main([*command, f"data.path={texts}", "data.task=mlm", "data.tokenizer=words"]) == 2
    assert "not filled: wikipedia, lpfhp, depth 3; could not download" in capsys.readouterr().err
    assert {row for row, _ in read(tmp_path / "run")} == {"training data, padded", "training data, lpfhp"}


def _no_network(url, mend):
    from flaxmask.names import Missing

    raise Missing(f"could not download {url} (no network): {mend}")


def test_packing_lengths_of_a_data_set_are_uncut():
    cmudict = dataclasses.replace(CONFIGS["cmudict, lpfhp"].packing, examples=50)
    found = pack_lengths(cmudict, DataConfig(length=4), load_task)
    assert found["packing_rows"] < 50
    assert found["packing_factor"] <= found["packing_limit"]
