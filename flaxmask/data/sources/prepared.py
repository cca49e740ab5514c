"""TFDS data sets, ours and anybody's, read from array_record files without TensorFlow."""

import contextlib
import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import load_default_config_name
from tensorflow_datasets.core.dataset_info import read_proto_from_builder_dir

from flaxmask import foreign
from flaxmask.data.sources.cmudict import Cmudict
from flaxmask.data.sources.multi30k import Multi30k
from flaxmask.data.sources.sentence_polarity import SentencePolarity
from flaxmask.data.sources.split import Split
from flaxmask.data.sources.tatoeba import Tatoeba
from flaxmask.data.sources.wikitext2 import Wikitext2
from flaxmask.data.sources.wnut17 import Wnut17
from flaxmask.names import Missing, Refused, nearest

BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    "cmudict": Cmudict,
    "multi30k": Multi30k,
    "tatoeba": Tatoeba,
    "wnut17": Wnut17,
    "sentence_polarity": SentencePolarity,
    "wikitext2": Wikitext2,
}
"""Ours, by name. They are prepared when they are first opened."""

_FORMAT = "array_record"
"""Always: TFDS's default can be read with TensorFlow alone."""


def names() -> list[str]:
    """Names of ours that `open_split` takes; without a configuration the first one of a data set is meant."""
    return [name for key, builder in BUILDERS.items() for name in (key, *_configs(key, builder))]


def data_dir() -> Path:
    """Where prepared data sets lie: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def open_split(name: str, split: str) -> Split:
    """One split of a TFDS data set.

    One of ours ("cmudict/standard") is prepared where it is not yet; any other ("glue/sst2") must be prepared.

    Raises:
      Missing: its files cannot be had; or it is not ours and not prepared, or in a format that needs TensorFlow.
      Refused: there is no such configuration or split; or its files are damaged, or cannot be written.
    """
    builder: Any = _ours(name) if name.split("/")[0] in BUILDERS else _others(name)
    if split not in list(builder.info.splits):
        raise Refused(f"{name} has no split {split!r}; it has {', '.join(builder.info.splits)}")
    source = builder.as_data_source(split)

    def fetch(count: int, chunk: int) -> Iterator[dict[str, Any]]:
        for start in range(0, count, chunk):
            numbers = range(start, min(start + chunk, count))
            with _whole(builder):
                records = source.__getitems__(numbers)
            for number, record in zip(numbers, records, strict=True):
                yield {key: _plain(value, f"{name}:{split}, record {number}, {key}") for key, value in record.items()}

    with _whole(builder):
        count = len(source)
    return Split(f"{name}:{split}", count, fetch, dict(_labels(builder.info.features)))


def _configs(name: str, builder: type[tfds.core.GeneratorBasedBuilder]) -> list[str]:
    return [f"{name}/{config.name}" for config in builder.BUILDER_CONFIGS]


def _ours(name: str) -> tfds.core.DatasetBuilder:
    key, _, config = name.partition("/")
    if name not in names():
        raise Refused(f"data set {key} has no configuration {config!r}; {nearest(name, _configs(key, BUILDERS[key]))}")
    make: Any = lambda: BUILDERS[key](data_dir=data_dir(), config=config or None, file_format=_FORMAT)
    with _quiet():
        try:
            builder = make()
            builder.download_and_prepare()
        except FileExistsError:  # another process prepared it meanwhile
            builder = make()
        except OSError as error:
            raise Refused(f"could not prepare {name} in {data_dir()} ({error}): set $TFDS_DATA_DIR") from None
    return builder


def _others(name: str) -> tfds.core.DatasetBuilder:
    """A data set that TFDS prepared; its code is not needed, for the features lie beside the records."""
    command = f"`tfds build {name} --file_format={_FORMAT} --data_dir={data_dir()}`"
    folder, hint = _newest(name), nearest(name.split("/")[0], BUILDERS)
    if folder is None:
        raise Missing(
            f"data set {name!r} is none of ours ({hint}) and not prepared in {data_dir()}: TFDS"
            f" needs TensorFlow to generate it, where that is installed: {command}"
        )
    _check_features(Path(folder))
    info = read_proto_from_builder_dir(folder)
    if _FORMAT not in (info.file_format, *info.alternative_file_formats):
        raise Missing(
            f"{folder} is in the format {info.file_format or 'tfrecord'}, and TFDS needs TensorFlow to read it: "
            f"`tfds convert_format --dataset_version_dir={folder} --out_file_format={_FORMAT}` where that is installed"
        )
    return tfds.builder_from_directory(folder, file_format=_FORMAT)


FEATURES = "tensorflow_datasets.core.features."


def _check_features(folder: Path):
    """Refuse features of classes that are not TFDS's own: it would import whatever module the file names."""
    place = folder / "features.json"
    unread = [foreign.parse(foreign.read_text(place), dict[str, Any], place)]
    for of in unread:
        for key, value in of.items():
            if key in ("type", "pythonClassName", "python_class_name") and isinstance(value, str):
                if not value.startswith(FEATURES):
                    raise Refused(f"{place}: {value!r} is no feature of TFDS's own, and would have to be imported")
            elif key == "content" and isinstance(value, str):  # as older versions wrote it
                value = foreign.parse(value, dict[str, Any], place)
            unread += [inner for inner in (value if isinstance(value, list) else [value]) if isinstance(inner, dict)]


def _newest(name: str) -> tfds.core.Path | None:
    """The folder of the newest version of a data set: "glue/sst2", "glue/sst2:2.0.0", or "glue" for its default."""
    if name.startswith(("/", ":", "~")) or {".", ".."} & set(re.split("[/:]", name)):
        raise Refused(f"data set {name!r}: expected the name of a data set, such as glue/sst2")
    folder = tfds.core.Path(data_dir()) / name.replace(":", "/")
    default = load_default_config_name(folder) if folder.is_dir() else None
    for place in (folder, folder / default if default else folder):
        versions = [path for path in (place, *_subfolders(place)) if (path / "features.json").exists()]
        if versions:
            return max(versions, key=lambda path: tfds.core.Version(path.name))
    return None


def _subfolders(folder: tfds.core.Path) -> list[tfds.core.Path]:
    """Those that are named as versions are."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and tfds.core.Version.is_valid(path.name)]


def _plain(value: Any, where: str) -> Any:
    """What TFDS gives, as Python's own: bytes as text, arrays as lists, numbers as numbers."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"{where}: is no UTF-8: only features of text, numbers and classes can be read") from None
    if isinstance(value, dict):
        return {key: _plain(inner, where) for key, inner in value.items()}
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tolist()
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(inner, where) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


def _labels(feature: Any, path: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of classes by the path of the feature that holds them, at any depth."""
    if isinstance(feature, tfds.features.ClassLabel):
        yield path, tuple(feature.names)
    elif isinstance(feature, tfds.features.Sequence):
        yield from _labels(feature.feature, path)
    elif isinstance(feature, tfds.features.FeaturesDict):
        for key, inner in feature.items():
            yield from _labels(inner, f"{path}/{key}" if path else key)


@contextlib.contextmanager
def _whole(builder: tfds.core.DatasetBuilder):
    """Refuses in one line when the files of a prepared data set turn out to be damaged, or not to be there."""
    try:
        yield
    except (RuntimeError, IndexError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Refused(f"{builder.data_dir} is damaged ({reason}): remove it, and prepare the data set again") from None


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
