import os
import subprocess
import sys

import numpy as np
import pytest

from flaxmask.data import tasks
from flaxmask.data.cmudict import dictionary_file, read_dictionary, split_of
from flaxmask.data.config import DataConfig
from flaxmask.data.sources import read_split


def test_lines_are_read_as_the_dictionary_means_them():
    lines = ["a AH0", "a(2) EY1  # a comment", "", "'bout B AW1 T"]
    assert list(read_dictionary(iter(lines))) == [("a", "AH0"), ("a", "EY1"), ("'bout", "B AW1 T")]


def test_the_builder_holds_every_line_once_and_no_word_twice():
    with dictionary_file().open(encoding="utf-8") as lines:
        wanted = sorted(read_dictionary(lines))
    splits = {name: read_split("cmudict", name) for name in ("train", "validation", "test")}
    found = sorted((e["word"], e["pronunciation"]) for split in splits.values() for e in split)
    assert found == wanted
    for name, split in splits.items():
        assert {split_of(e["word"]) for e in split} == {name}
    assert 0.04 < len(splits["test"]) / len(wanted) < 0.06


@pytest.mark.slow
def test_two_processes_may_prepare_at_once(tmp_path):
    program = "from flaxmask.data.sources import read_split; print(len(read_split('cmudict', 'test')))"
    environment = os.environ | {"TFDS_DATA_DIR": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    counts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert counts[0] == counts[1] == f"{len(read_split('cmudict', 'test'))}\n"


def test_the_task_has_all_pronunciations_as_references_and_no_stress():
    task = tasks.load_task(DataConfig(train_examples=100, evaluation_examples=300))
    assert len(task.train) == 100
    assert len(task.evaluation) == len(task.references) == 300
    assert any(len(texts) > 1 for texts in task.references)
    symbols = {symbol for texts in task.references for text in texts for symbol in text.split()}
    assert symbols <= set(task.target_vocabulary.symbols)
    for i in range(300):
        assert task.target_vocabulary.decode(task.evaluation.target[i].tolist()) == task.references[i][0]


def test_lengths_of_the_corpus():
    lengths = tasks.load_task(DataConfig()).train.lengths
    assert lengths.max(axis=0).tolist() == [29, 29]
    np.testing.assert_allclose(lengths.mean(axis=0), [8.5, 7.4], atol=0.1)
