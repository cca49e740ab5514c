import os
import subprocess
import sys

import pytest

from flaxmask.data.sources import open_split, split_of
from flaxmask.data.sources.cmudict import STANDARD, dictionary_file, read_dictionary, read_standard
from flaxmask.data.sources.files import lines
from flaxmask.names import Refused
from tests.data.sources.published import need


def test_lines_are_read_as_the_dictionary_means_them():
    texts = ["a AH0", "a(2) EY1  # a comment", "", "'bout B AW1 T"]
    assert list(read_dictionary(texts)) == [("a", "AH0"), ("a", "EY1"), ("'bout", "B AW1 T")]


def test_the_builder_holds_every_line_once_and_no_word_twice():
    with dictionary_file().open(encoding="utf-8") as texts:
        wanted = sorted(read_dictionary(texts))
    splits = {name: list(open_split("cmudict", name).records()) for name in ("train", "validation", "test")}
    found = sorted((e["word"], e["pronunciation"]) for split in splits.values() for e in split)
    assert found == wanted
    for name, split in splits.items():
        assert {split_of(e["word"]) for e in split} == {name}
    assert 0.04 < len(splits["test"]) / len(wanted) < 0.06


def test_the_standard_edition_has_the_counts_of_the_literature():
    need(*STANDARD.values())
    pairs = {split: list(read_standard(lines(file), file)) for split, file in STANDARD.items()}
    assert {split: len(found) for split, found in pairs.items()} == {
        "train": 108_952,
        "validation": 5_447,
        "test": 12_855,
    }
    assert pairs["train"][:2] == [("'CAUSE", "K AH Z"), ("'COURSE", "K AO R S")]
    words = {split: {word for word, _ in found} for split, found in pairs.items()}
    assert not words["train"] & words["test"]


def test_the_standard_edition_without_phonemes_is_refused():
    with pytest.raises(Refused, match=r"^dev, line 2: expected a word and its phonemes, found 'B'$"):
        list(read_standard(["A  AH\r", "B"], "dev"))


@pytest.mark.slow
def test_two_processes_may_prepare_at_once(tmp_path):
    program = "from flaxmask.data.sources import open_split; print(len(open_split('cmudict', 'test')))"
    environment = os.environ | {"TFDS_DATA_DIR": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    counts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert counts[0] == counts[1] == f"{len(open_split('cmudict', 'test'))}\n"
