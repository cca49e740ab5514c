"""Tasks: from a data set's text to examples, vocabularies and references."""

import dataclasses

from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples
from flaxmask.data.sources import read_split
from flaxmask.data.vocabulary import Vocabulary

ARPABET = [
    "AA",
    "AE",
    "AH",
    "AO",
    "AW",
    "AY",
    "B",
    "CH",
    "D",
    "DH",
    "EH",
    "ER",
    "EY",
    "F",
    "G",
    "HH",
    "IH",
    "IY",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "OW",
    "OY",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "UH",
    "UW",
    "V",
    "W",
    "Y",
    "Z",
    "ZH",
]
LETTERS = "'-.abcdefghijklmnopqrstuvwxyz"


@dataclasses.dataclass(frozen=True)
class Task:
    """All that training and evaluation need to know of a task.

    Attributes:
      train: examples to learn from.
      evaluation: one example for each distinct source, with its first reference as the target.
      references: for each example of `evaluation`, the texts that count as right.
      source_vocabulary: of the sources.
      target_vocabulary: of the targets.
    """

    train: Examples
    evaluation: Examples
    references: list[list[str]]
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary


def load_task(config: DataConfig) -> Task:
    """The task of a configuration."""
    return _TASKS[config.task](config)


def _grapheme_to_phoneme(config: DataConfig) -> Task:
    """Letters to phonemes without stress. A word's pronunciations are all right, whichever is given."""
    letters, phonemes = Vocabulary(tuple(LETTERS)), Vocabulary(tuple(ARPABET), " ")
    sizes = len(letters), len(phonemes)
    encode = lambda word, pronunciation: (letters.encode(word), phonemes.encode(pronunciation))

    train = [_without_stress(e) for e in read_split("cmudict", "train", config.train_examples)]
    pronunciations: dict[str, list[str]] = {}
    for word, pronunciation in map(_without_stress, read_split("cmudict", config.evaluation_split)):
        pronunciations.setdefault(word, []).append(pronunciation)
    words = list(pronunciations)[: config.evaluation_examples]
    return Task(
        train=Examples.of((encode(*pair) for pair in train), sizes, config.length),
        evaluation=Examples.of((encode(w, pronunciations[w][0]) for w in words), sizes, config.length),
        references=[pronunciations[word] for word in words],
        source_vocabulary=letters,
        target_vocabulary=phonemes,
    )


def _without_stress(example: dict[str, str]) -> tuple[str, str]:
    """Word and pronunciation, the digits 0 to 2 off the vowels."""
    return example["word"], example["pronunciation"].translate(str.maketrans("", "", "012"))


_TASKS = {"g2p": _grapheme_to_phoneme}
