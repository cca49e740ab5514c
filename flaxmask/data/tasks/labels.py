"""A label for each word (tagging), or one for the whole text (classification)."""

from collections.abc import Callable, Iterator
from typing import Any

from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Row
from flaxmask.data.tasks.task import Reader, Task, learn_vocabulary, make_task
from flaxmask.data.vocabulary import BOS, EOS, PAD, SPECIALS, Vocabulary
from flaxmask.names import Refused, nearest


def tagging(config: DataConfig) -> Task:
    """Words in pieces; the first piece of each word carries its tag."""

    def row(vocabulary: Any, words: list[str], tags: list[int]) -> Row:
        pieces = vocabulary.encode_words(words)
        ids = [piece for word in pieces for piece in word]
        labels = [label for word, tag in zip(pieces, tags, strict=True) for label in (tag, *[PAD] * (len(word) - 1))]
        kept = (config.length or len(ids) + 1) - 1
        labels = [*labels[:kept], PAD]
        return Row([*ids[:kept], EOS], None, labels, [int(label != PAD) for label in labels], cut=kept < len(ids))

    return _labelled(config, Reader.words, Reader.labels, row)


def classification(config: DataConfig) -> Task:
    """The text behind a beginning mark, which carries the label."""

    def row(vocabulary: Any, text: str, labels: list[int]) -> Row:
        ids = [BOS, *vocabulary.encode(text)]
        kept = config.length or len(ids)
        ids, long = (ids, False) if len(ids) <= kept else ([*ids[: kept - 1], EOS], True)
        rest = len(ids) - 1
        return Row(ids, None, [*labels, *[PAD] * rest], [1, *[0] * rest], cut=long)

    return _labelled(config, Reader.text, Reader.label, row)


def _labelled(
    config: DataConfig,
    read: Callable[[Reader, Any], str | list[str]],
    read_labels: Callable[[Reader, Any], list[Any]],
    make_row: Callable[..., Row],
) -> Task:
    """Labels are symbols of a vocabulary of their own, so that 0 stays padding."""
    reader = Reader(config)

    def records(split: str, most: int | None) -> Iterator[tuple[str | list[str], list[Any]]]:
        for source, target in reader.records(split, most):
            yield read(reader, source), read_labels(reader, target)

    training = lambda: records("train", config.train_examples)
    vocabulary = learn_vocabulary(config, (s if isinstance(s, str) else " ".join(s) for s, _ in training()))
    known = names = reader.open("train").labels.get(reader.target)
    if names is None:
        names = tuple(sorted({str(label) for _, target in training() for label in target}))
    labels = Vocabulary(tuple(names), " ")
    numbers = {name: i for i, name in enumerate(names)}

    def number(label: Any) -> int:
        found = label if known and isinstance(label, int) else numbers.get(str(label), -1)
        if not 0 <= found < len(names):
            raise Refused(
                f"{reader.here()}: the label {label!r} is not in the training split; {nearest(str(label), names)}"
            )
        return found + len(SPECIALS)

    def rows(split: str, most: int | None, references: list[list[str]]) -> Iterator[Row]:
        for source, target in records(split, most):
            ids = [number(label) for label in target]
            if isinstance(source, list) and len(source) != len(ids):
                raise Refused(f"{reader.here()}: {len(source)} words, but {len(ids)} labels")
            references.append([labels.decode(ids)])
            yield make_row(vocabulary, source, ids)

    return make_task(config, reader, rows, (vocabulary, labels))
