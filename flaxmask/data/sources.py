"""Prepared TFDS data sets, read without TensorFlow."""

import contextlib
import io
import logging
from typing import Any

import tensorflow_datasets as tfds

from flaxmask.data.cmudict import Cmudict

BUILDERS = {"cmudict": Cmudict}


def read_split(name: str, split: str, most: int | None = None) -> list[dict[str, str]]:
    """The first `most` text examples of a split, preparing the data set where it is not yet.

    Data sets lie in `$TFDS_DATA_DIR`, or in `~/tensorflow_datasets`.
    """
    with _quiet():
        builder: Any = BUILDERS[name](file_format="array_record")
        try:
            builder.download_and_prepare()
        except FileExistsError:  # another process prepared it meanwhile
            builder = BUILDERS[name](file_format="array_record")
        source = builder.as_data_source(split)
        count = len(source) if most is None else min(most, len(source))
        examples = source.__getitems__(range(count))
    return [{key: value.decode() for key, value in example.items()} for example in examples]


@contextlib.contextmanager
def _quiet():
    """Without TFDS's notices and progress bars: preparing takes seconds."""
    level = logging.getLogger("absl").level
    logging.getLogger("absl").setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger("absl").setLevel(level)
