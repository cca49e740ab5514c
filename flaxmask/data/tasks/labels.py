"""A label for each word (tagging), or one for the whole text (classification)."""

from collections.abc import Callable, Iterator
from typing import Any

from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples, Row
from flaxmask.data.tasks.task import Reader, Task, learn_vocabulary
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

    return _labelled(config, " ".join, row)


def classification(config: DataConfig) -> Task:
    """The text behind a beginning mark, which carries the label."""

    def row(vocabulary: Any, text: str, labels: list[int]) -> Row:
        ids = [BOS, *vocabulary.encode(text)]
        kept = config.length or len(ids)
        ids, long = (ids, False) if len(ids) <= kept else ([*ids[: kept - 1], EOS], True)
        rest = len(ids) - 1
        return Row(ids, None, [*labels, *[PAD] * rest], [1, *[0] * rest], cut=long)

    return _labelled(config, str, row)


def _labelled(config: DataConfig, as_text: Callable[[Any], str], make_row: Callable[..., Row]) -> Task:
    """Labels are symbols of a vocabulary of their own, so that 0 stays padding."""
    reader = Reader(config)
    vocabulary = learn_vocabulary(config, (as_text(s) for s, _ in reader.records("train", config.train_examples)))
    known = names = reader.open("train").labels.get(reader.target)
    if names is None:
        found = {label for _, target in reader.records("train", config.train_examples) for label in _listed(target)}
        names = tuple(sorted(map(str, found)))
    # Learning the vocabulary read the training split already.
    reader.skipped.clear()
    labels = Vocabulary(tuple(names), " ")
    numbers = {name: i for i, name in enumerate(names)}

    def number(label: Any) -> int:
        found = label if known and isinstance(label, int) else numbers.get(str(label), -1)
        if not 0 <= found < len(names):
            raise Refused(
                f"{reader.here()}: the label {label!r} is not in the training split; {nearest(str(label), names)}"
            )
        return found + len(SPECIALS)

    def rows(split: str, most: int | None, references: list[list[str]] | None = None) -> Iterator[Row]:
        for source, target in reader.records(split, most):
            ids = [number(label) for label in _listed(target)]
            if isinstance(source, list) and len(source) != len(ids):
                raise Refused(f"{reader.here()}: {len(source)} words, but {len(ids)} labels")
            if references is not None:
                references.append([labels.decode(ids)])
            yield make_row(vocabulary, source, ids)

    references: list[list[str]] = []
    sizes = len(vocabulary), len(labels)
    return Task(
        train=Examples.of_rows(rows("train", config.train_examples), sizes),
        evaluation=Examples.of_rows(rows(config.evaluation_split, config.evaluation_examples, references), sizes),
        references=references,
        source_vocabulary=vocabulary,
        target_vocabulary=labels,
        skipped=reader.skipped,
    )


def _listed(target: Any) -> list[Any]:
    return target if isinstance(target, list) else [target]
