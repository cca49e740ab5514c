"""Text in, text out: translation, summaries, answers to questions; by two sides, or as a prefix and what follows."""

import functools
from collections.abc import Callable, Iterator

from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Row, cut, pair_row
from flaxmask.data.tasks.task import Reader, Task, learn_vocabulary, make_task
from flaxmask.data.vocabulary import BOS, PAD


def text_to_text(config: DataConfig) -> Task:
    """Pairs for an encoder and a decoder."""
    row = functools.partial(pair_row, shift=config.shift)
    return _pairs(config, config.share_vocabulary, row, int(config.shift))


def prefix_lm(config: DataConfig) -> Task:
    """The source as a prefix that all of the example may see, the target behind it; the target alone is predicted.

    The beginning mark belongs to the target: a prefix that is read before anything is written does not know it.
    """
    return _pairs(config, True, prefix_row, 1)


def prefix_row(source: list[int], target: list[int], length: int | None = None) -> Row:
    """Source, beginning mark, target; a label stands at each token that predicts one of the target."""
    short, labels = cut(source, length), cut(target, length)
    before = len(short)
    return Row(
        source=None,
        target=[*short, BOS, *labels[:-1]],
        labels=[PAD] * before + list(labels),
        weights=[0] * before + [1] * len(labels),
        prefix=[1] * before + [0] * len(labels),
        cut=before < len(source) or len(labels) < len(target),
    )


def _pairs(config: DataConfig, shared: bool, make_row: Callable[..., Row], answers: int) -> Task:
    reader = Reader(config)

    def texts(side: int | None) -> Iterator[str]:
        for pair in reader.records("train", config.train_examples):
            yield from (reader.text(part) for part in (pair if side is None else pair[side : side + 1]))

    if shared:
        source = target = learn_vocabulary(config, texts(None))
    else:
        source, target = (learn_vocabulary(config, texts(side)) for side in (0, 1))

    def rows(split: str, most: int | None, references: list[list[str]]) -> Iterator[Row]:
        for question, answer in reader.records(split, most):
            references.append(answer if isinstance(answer, list) else [answer])
            yield make_row(source.encode(reader.text(question)), target.encode(reader.text(answer)), config.length)

    return make_task(config, reader, rows, (source, target), answers=answers)
