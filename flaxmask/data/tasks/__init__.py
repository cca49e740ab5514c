"""Tasks: from a data set's records to examples, vocabularies and references."""

from flaxmask.data.config import DataConfig
from flaxmask.data.tasks.g2p import grapheme_to_phoneme
from flaxmask.data.tasks.labels import classification, tagging
from flaxmask.data.tasks.language import causal_lm, masked_lm
from flaxmask.data.tasks.task import Task
from flaxmask.data.tasks.text_to_text import prefix_lm, text_to_text

__all__ = ["Task", "load_task"]

_TASKS = {
    "g2p": grapheme_to_phoneme,
    "text_to_text": text_to_text,
    "tagging": tagging,
    "classification": classification,
    "mlm": masked_lm,
    "lm": causal_lm,
    "prefix_lm": prefix_lm,
}


def load_task(config: DataConfig) -> Task:
    """The task of a configuration.

    Raises:
      Refused: there is no such data, or it is not fit for the task; one line that names it.
    """
    return _TASKS[config.known[0]](config)
