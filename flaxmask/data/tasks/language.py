"""Language models: causal, and masked. A text longer than `data.length` becomes several examples, so none is lost."""

from collections.abc import Callable, Iterator

from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Row
from flaxmask.data.noise import MaskedTokens
from flaxmask.data.tasks.task import Reader, Task, learn_vocabulary, make_task
from flaxmask.data.vocabulary import BOS


def causal_lm(config: DataConfig) -> Task:
    """Each token from those before it, the first from a beginning mark."""
    return _texts(config, lambda ids: Row(None, [BOS, *ids[:-1]], ids), 0)


def masked_lm(config: DataConfig) -> Task:
    """The tokens that noise hides, from all others; see `MaskedTokens`."""
    return _texts(config, lambda ids: Row([BOS, *ids], None, [BOS, *ids]), 1)


def _texts(config: DataConfig, make_row: Callable[[list[int]], Row], marks: int) -> Task:
    """`marks` more tokens than the text's own stand in a row."""
    reader = Reader(config)
    texts = lambda split, most: (reader.text(text) for text, _ in reader.records(split, most))
    vocabulary = learn_vocabulary(config, texts("train", config.train_examples))
    room = None if config.length is None else max(config.length - marks, 1)
    # What is judged is hidden token by token, however the training hides.
    noise = MaskedTokens(len(vocabulary), config.mask_rate, starts=vocabulary.starts) if marks else None

    def rows(split: str, most: int | None, references: list[list[str]]) -> Iterator[Row]:
        del references  # the labels say what is right
        for text in texts(split, most):
            ids = vocabulary.encode(text)
            for start in range(0, len(ids), room or len(ids)):
                yield make_row(ids[start : start + (room or len(ids))])

    return make_task(config, reader, rows, (vocabulary, vocabulary), noise, None if marks else 1)
