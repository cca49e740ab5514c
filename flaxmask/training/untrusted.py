"""What a checkpoint says of itself, looked at before Orbax and TensorStore obey it.

They follow links, take whatever size a chunk is said to have (and end the process where memory does not hold it), and
read arrays at whatever paths a checkpoint names. No digest helps against somebody who writes digests, too.
"""

import contextlib
import math
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import jax
import numpy as np
import tensorstore

from flaxmask import foreign
from flaxmask.names import Refused


class Unreadable(Refused):
    """What lies there is no checkpoint, or none any more."""


class _Key(TypedDict):
    key: str


class _Value(TypedDict):
    value_type: str


class _Leaf(TypedDict):
    key_metadata: list[_Key]
    value_metadata: _Value


class _Metadata(TypedDict):
    """`_METADATA`, as far as it decides where is read."""

    tree_metadata: dict[str, _Leaf]
    use_ocdbt: bool
    use_zarr3: NotRequired[bool]


class Saved(NamedTuple):
    """An array as it is said to lie on disk."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


_MOST = 1 << 16
"""Bytes of the description of an array."""
_ARRAYS = ("jax.Array", "np.ndarray", "scalar")
_NOTHING = ("None", "Dict", "List", "Tuple", "NamedTuple", "Unknown")
"""Leaves for which Orbax reads nothing from disk."""


def check(directory: Path, like: Any, owner: Path):
    """Refuse saved arrays that are not those of a state, before one of them is read.

    Args:
      directory: of the arrays, as `StandardSave` writes them.
      like: the state, of arrays or of shapes.
      owner: the folder that a message names.

    Raises:
      Refused: a link leads out of the folder, it is no checkpoint, or it is of another model; the message names the
        first parameter that differs.
    """
    foreign.contain(directory)
    for file in ("_sharding", "array_metadatas/process_0"):
        _json(directory / file, Any)
    try:
        metadata = foreign.parse(foreign.read_text(directory / "_METADATA"), _Metadata, directory / "_METADATA")
    except FileNotFoundError:
        raise Refused(f"{directory}: holds no state") from None
    if not metadata["use_ocdbt"]:
        raise Refused(f"{directory}: not written as Orbax writes here: its arrays may lie anywhere")
    opened, want = _opened(directory, metadata.get("use_zarr3", False)), leaves(like)
    have = {name: Saved(tuple(array.shape), array.dtype.numpy_dtype.name) for name, array in opened.items()}
    for name in sorted({*have, *want}):
        if have.get(name) != want.get(name):
            raise Refused(
                f"{owner} is of another model: {name} is {have.get(name, 'missing')} there, "
                f"{want.get(name, 'missing')} in the configuration"
            )
    _check_named(directory / "_METADATA", metadata, set(have))
    with refusing(directory):  # of what is damaged Orbax would tell in a hundred lines
        for reading in [array.read() for array in opened.values()]:
            reading.result()


def _check_named(path: Path, metadata: Any, have: set[str]):
    """Refuse arrays that are named and are not there, or the other way round; and types that are none of arrays'."""
    named = set()
    for leaf in metadata["tree_metadata"].values():
        kind = leaf["value_metadata"]["value_type"]
        if kind in _ARRAYS:
            named.add(".".join(one["key"] for one in leaf["key_metadata"]))
        elif kind not in _NOTHING:
            raise Refused(f"{path}: there is no type of arrays called {kind!r}")
    for name in sorted(named ^ have):
        raise Refused(f"{path}: {name!r} is {'an array that is not there' if name in named else 'not named'}")


def check_step(directory: Path):
    """Refuse what lies beside a state: the place in the data, progress, and what Orbax notes of them.

    Raises:
      Unreadable: what lies there is none of ours, or a link leads out of it.
    """
    try:
        foreign.contain(directory)
        for file in ("_CHECKPOINT_METADATA", *directory.glob("data/*.json"), "progress/metadata"):
            _json(directory / file, dict[str, Any])
    except Refused as error:
        raise Unreadable(f"{directory} is not readable ({error})") from error


def _json(path: Path, kind: Any):
    """A file that need not be there."""
    with contextlib.suppress(FileNotFoundError):
        foreign.parse(foreign.read_text(path), kind, path)


def leaves(like: Any) -> dict[str, Saved]:
    """Of a state, under the names that Orbax gives them."""
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
    found = jax.tree_util.tree_leaves_with_path(like)
    return {name(path): Saved(tuple(leaf.shape), np.dtype(leaf.dtype).name) for path, leaf in found}


def _opened(directory: Path, third: bool) -> dict[str, tensorstore.TensorStore]:
    """The arrays that lie there in Zarr's second or third format, of numbers and of chunks that are no larger than
    themselves; none is read.
    """
    with refusing(directory):
        where: dict[str, Any] = {"driver": "ocdbt", "base": f"file://{directory.absolute()}/"}
        store = tensorstore.KvStore.open(where).result()
        opened = {}
        for key in store.list().result():
            name, _, kind = key.decode().rpartition("/")
            if kind == ("zarr.json" if third else ".zarray"):
                foreign.parse(store.read(key).result().value[:_MOST].decode(), dict[str, Any], f"{directory}, {name}")
                driver = "zarr3" if third else "zarr"
                opened[name] = tensorstore.open({"driver": driver, "kvstore": where | {"path": f"{name}/"}}).result()
        for name, array in opened.items():
            chunk = array.chunk_layout.read_chunk.shape or ()
            if math.prod(chunk) > max(1, math.prod(array.shape)) or array.dtype.numpy_dtype.kind not in "biufV":
                raise Refused(f"{directory}, {name}: {array.dtype.name}{list(array.shape)} in chunks of {list(chunk)}")
    return opened


@contextlib.contextmanager
def refusing(directory: Path):
    """Refuses in one line whatever Orbax stumbles over."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # of any kind: Orbax trusts what it reads
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise Unreadable(f"{directory}: not readable as a checkpoint ({reason}): remove it") from error
