"""What a task hands to training and evaluation, and how it reads its records."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples, Row
from flaxmask.data.noise import MaskedTokens
from flaxmask.data.sources import Split, open_plain, open_split
from flaxmask.data.tokenizers import SentencePieces, Tokenizer, train_pieces
from flaxmask.data.vocabulary import UNKNOWN, Vocabulary
from flaxmask.names import Refused, nearest

Stream = Literal["source", "target"]


@dataclasses.dataclass(frozen=True)
class Task:
    """All that training and evaluation need to know of a task.

    Attributes:
      train: examples to learn from.
      evaluation: examples to be judged by.
      references: for each example of `evaluation`, the texts that count as right; none where that is the labels.
      source_vocabulary: of what is read.
      target_vocabulary: of what is predicted.
      noise: of a masked language model; None for other tasks.
      skipped: records left out, by reason.
      answers: how many slots behind a label the decoder reads that very token: 1 where its input is shifted, 0 where
        it is not. None where labels are not among what is read.
    """

    train: Examples
    evaluation: Examples
    references: list[list[str]]
    source_vocabulary: Tokenizer
    target_vocabulary: Tokenizer
    noise: MaskedTokens | None = None
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    answers: int | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of ids of both sides; the mask is one more, after the last."""
        extra = self.noise is not None
        return len(self.source_vocabulary) + extra, len(self.target_vocabulary) + extra

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What the task has: a source, a target or both."""
        return tuple(name for name in ("source", "target") if getattr(self.train, name) is not None)

    @property
    def counts(self) -> dict[str, float]:
        """What was not read as it stood, for the results."""
        both = (self.train, self.evaluation)
        sides = [side for examples in both for side in (examples.source, examples.target) if side is not None]
        return {
            "truncated_examples": sum(examples.truncated for examples in both),
            "skipped_examples": sum(self.skipped.values()),
            "unknown_tokens": sum(int(np.count_nonzero(side.values == UNKNOWN)) for side in sides),
        }


class Reader:
    """The records of a configuration's splits, by its keys.

    Attributes:
      config: names the data.
      name: of the task.
      source: key of what is read.
      target: key of what is predicted; "" where the task needs none.
      skipped: records left out, by reason; of the splits read since it was last emptied.
    """

    def __init__(self, config: DataConfig):
        self.config = config
        self.name, self.source, self.target = config.known
        self.skipped: dict[str, int] = {}
        self._opened: Split | None = None
        self._at = 0

    def open(self, name: str) -> Split:
        """One split of the data set or of the plain file."""
        config = self.config
        self._opened, self._at = open_plain(config.path, name) if config.path else open_split(config.name, name), 0
        return self._opened

    def records(self, name: str, most: int | None = None) -> Iterator[tuple[Any, Any]]:
        """Source and target of each record; those in which a text is empty are counted and left out."""
        split = self.open(name)
        left = 0
        for self._at, record in enumerate(split.records(most)):
            source, target = self.pick(record, self.source), self.pick(record, self.target) if self.target else None
            if _is_empty(source) or _is_empty(target):
                self.skip(f"{name}: nothing in {self.source if _is_empty(source) else self.target}")
                left += 1
                continue
            yield source, target
        for reason, number in split.skipped.items():
            self.skipped[f"{name}: {reason}"] = number
        if left == min(len(split), len(split) if most is None else most):
            raise Refused(f"{split.name}: no example in it")

    def skip(self, reason: str):
        """Count a record that is left out."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def short(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Rows no longer than `data.train_longest`; the others are counted."""
        longest = self.config.train_longest
        for row in rows:
            if (
                longest is not None
                and max(len(side) for side in (row.source, row.target) if side is not None) > longest
            ):
                self.skip(f"train: longer than {longest}")
            else:
                yield row

    def pick(self, record: dict[str, Any], key: str) -> Any:
        """A feature of a record: `a+b` joins texts with a space, `a/b` looks into a feature."""
        if "+" in key:
            return " ".join(self.text(self.pick(record, part)) for part in key.split("+"))
        found: Any = record
        for part in key.split("/"):
            if not isinstance(found, dict) or part not in found:
                names = list(found) if isinstance(found, dict) else []
                raise Refused(f"{self.here()}: no feature is called {key!r}; {nearest(part, names)}")
            found = found[part]
        return found

    def text(self, value: Any) -> str:
        """A feature as a text; of several the first."""
        value = next((text for text in value if not _is_empty(text)), "") if isinstance(value, list) else value
        if not isinstance(value, str):
            raise Refused(f"{self.here()}: expected text, got {value!r}; see data.source and data.target")
        return value

    def words(self, value: Any) -> list[str]:
        """A feature as words; a text is taken apart at its spaces."""
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Refused(f"{self.here()}: expected words, got {value!r}; see data.source")
        return words

    def labels(self, value: Any) -> list[Any]:
        """A feature as one label a word: numbers or names; a text is taken apart at its spaces."""
        labels = value.split() if isinstance(value, str) else value
        if not isinstance(labels, list):
            raise Refused(f"{self.here()}: expected a label for each word, got {value!r}; see data.target")
        return [self._label(label) for label in labels]

    def label(self, value: Any) -> list[Any]:
        """A feature as the one label of a text, a number or a name, in a list."""
        return [self._label(value)]

    def _label(self, value: Any) -> Any:
        if not isinstance(value, str | int | float | bool):
            raise Refused(f"{self.here()}: expected a label, got {value!r}; see data.target")
        return value

    def here(self) -> str:
        """Where the record stands that was read last."""
        return self._opened.where(self._at) if self._opened else f"data.name={self.config.name}"


def _is_empty(value: Any) -> bool:
    """Whether there is nothing to read; a list of which all is empty is."""
    if isinstance(value, list):
        return all(map(_is_empty, value))
    return (
        value is not None
        and not isinstance(value, int | float)
        and not (value.strip() if isinstance(value, str) else value)
    )


def learn_vocabulary(config: DataConfig, texts: Iterator[str]) -> SentencePieces | Vocabulary:
    """The vocabulary that the configuration asks for, from the training split's texts or another data set's."""
    if config.vocabulary_of is not None:
        reader = Reader(DataConfig(name=config.vocabulary_of))
        texts = (reader.text(text) for text, _ in reader.records("train"))
    if config.tokenizer == "characters":
        return Vocabulary.build(texts, "", config.vocabulary_size)
    if config.tokenizer == "words":
        return Vocabulary.build(texts, " ", config.vocabulary_size)
    return train_pieces(texts, config.tokenizer, config.vocabulary_size)


Rows = Callable[[str, int | None, list[list[str]]], Iterator[Row]]
"""The rows of a split, all or the first so many records; the references of each are added to the list."""


def make_task(
    config: DataConfig,
    reader: Reader,
    rows: Rows,
    vocabularies: tuple[Tokenizer, Tokenizer],
    noise: MaskedTokens | None = None,
    answers: int | None = None,
) -> Task:
    """Reads the training and the evaluation split.

    Args:
      config: names the splits and how much of them is read.
      reader: of `rows`.
      rows: of a split.
      vocabularies: of the source and of the target.
      noise: of a masked language model; its mask is one more id.
      answers: see `Task`.
    """
    # The vocabularies were learnt from the training split: what was left out there would count twice.
    reader.skipped.clear()
    source, target = (len(vocabulary) + (noise is not None) for vocabulary in vocabularies)
    references: list[list[str]] = []
    return Task(
        train=Examples.of_rows(reader.short(rows("train", config.train_examples, [])), (source, target)),
        evaluation=Examples.of_rows(rows(config.judged_by, config.evaluation_examples, references), (source, target)),
        references=references,
        source_vocabulary=vocabularies[0],
        target_vocabulary=vocabularies[1],
        noise=noise,
        skipped=reader.skipped,
        answers=answers,
    )
