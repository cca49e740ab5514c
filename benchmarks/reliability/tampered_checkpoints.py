"""A small trained model, and what somebody who means harm makes of its checkpoint."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorstore

ROOT = Path(__file__).parents[2]
STEP = "checkpoints/static-0/3"
NAME = "params.params.decoder_0.contract.bias/"
TINY = (
    "data.train_examples=96",
    "data.batch_examples=32",
    "data.evaluation_examples=20",
    "data.shapes=1",
    "data.length=10",
)


def train(folder: Path) -> Path:
    """A run of one row, three updates long."""
    line = [sys.executable, "run.py", "--experiment", "padding", "--scale", "smoke", "--row", "static"]
    done = subprocess.run(
        [*line, "--workdir", str(folder), *TINY], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def _store(run: Path) -> Any:
    where: Any = {"driver": "ocdbt", "base": f"file://{run / STEP / 'state'}/"}
    return tensorstore.KvStore.open(where).result()


def said(**changes: Any) -> Callable[[Path], None]:
    """Say something else of an array."""

    def apply(run: Path):
        store = _store(run)
        old = json.loads(store.read(NAME + ".zarray").result().value)
        store.write(NAME + ".zarray", json.dumps(old | changes).encode()).result()

    return apply


def stored(key: str, content: bytes) -> Callable[[Path], None]:
    """Put something else into the store of arrays."""
    return lambda run: _store(run).write(NAME + key, content).result()


def put(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Put something else into a file of the step."""
    return lambda run: (
        (run / STEP / name).write_bytes(content if isinstance(content, bytes) else content.encode()) and None
    )


def metadata(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change what Orbax notes of the arrays."""

    def apply(run: Path):
        path = run / STEP / "state" / "_METADATA"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return apply


def _named(name: str) -> Callable[[Any], None]:
    value = {"value_type": "jax.Array", "skip_deserialize": False, "write_shape": []}
    return lambda of: of["tree_metadata"].update(
        x={"key_metadata": [{"key": name, "key_type": 2}], "value_metadata": value}
    )


def _linked(name: str, to: str = "") -> Callable[[Path], None]:
    """Put a link in the place of a file; to where its content lies now, or to `to`."""

    def apply(run: Path):
        path = run / STEP / name
        path = max(path.iterdir(), key=lambda one: one.stat().st_size) if path.is_dir() and not to else path
        away = run.parent.parent / f"away-{run.parent.name}"
        path.rename(away)
        path.symlink_to(to or away)

    return apply


def _pipe(name: str) -> Callable[[Path], None]:
    def apply(run: Path):
        (run / STEP / name).unlink()
        os.mkfifo(run / STEP / name)

    return apply


def config(*path: str, value: Any) -> Callable[[Path], None]:
    """Set something of the run's configuration."""

    def apply(run: Path):
        whole = of = json.loads((run / "config.json").read_text())
        for key in path[:-1]:
            of = of[key]
        of[path[-1]] = value
        (run / "config.json").write_text(json.dumps(whole))

    return apply


HARMLESS = ("another store named where none is looked for", "a later step that is empty")
_ROW = ("rows", "static")

HARM: dict[str, Callable[[Path], Any]] = {
    "a shape of 2⁶⁰": said(shape=[2**60]),
    "chunks of 2⁴⁰": said(chunks=[2**40]),
    "chunks of 2³³": said(chunks=[2**33]),
    "chunks of no length": said(chunks=[0]),
    "a shape below 0": said(shape=[-5]),
    "float64 for float32": said(dtype="<f8"),
    "int32 for float32": said(dtype="<i4"),
    "objects": said(dtype="|O"),
    "objects through a filter of pickles": said(dtype="|O", filters=[{"id": "pickle"}]),
    "1 GB of bytes each": said(dtype="|V1000000000"),
    "a compressor of pickles": said(compressor={"id": "pickle"}),
    HARMLESS[0]: said(kvstore={"driver": "file", "path": "/etc/"}),
    "a description that is garbage": stored(".zarray", b"\xff{"),
    "a description nested 100,000 deep": stored(".zarray", b"[" * 100_000),
    "a description of 10 MB": stored(".zarray", b" " * 10_000_000),
    "data that are garbage": stored("0", b"\xff" * 100),
    "data cut off": stored("0", b""),
    "metadata that are garbage": put("state/_METADATA", "{"),
    "metadata nested 100,000 deep": put("state/_METADATA", "[" * 100_000),
    "metadata as a list": put("state/_METADATA", "[]"),
    "an array ../../../etc": metadata(_named("../../../../../../etc")),
    "an array /etc/passwd": metadata(_named("/etc/passwd")),
    "an array more": metadata(_named("more")),
    "arrays in folders": metadata(lambda of: of.update(use_ocdbt=False)),
    "arrays in folders, one ../../../etc": metadata(
        lambda of: (of.update(use_ocdbt=False), _named("../../../etc")(of))
    ),
    "arrays of another format": metadata(lambda of: of.update(use_zarr3=True)),
    "an array less": metadata(lambda of: of["tree_metadata"].pop("('step',)")),
    "a value of another type": metadata(
        lambda of: of["tree_metadata"]["('step',)"]["value_metadata"].update(value_type="os.system")
    ),
    "a manifest that is garbage": put("state/manifest.ocdbt", os.urandom(200)),
    "a manifest cut off": put("state/manifest.ocdbt", b""),
    "shardings nested deep": put("state/_sharding", "[" * 100_000),
    "array metadata nested deep": put("state/array_metadatas/process_0", "[" * 100_000),
    "handlers of other code": put("_CHECKPOINT_METADATA", '{"item_handlers": {"state": "os.system"}, "metrics": 5}'),
    "times that are text": put("_CHECKPOINT_METADATA", '{"init_timestamp_nsecs": "x"}'),
    "notes nested deep": put("_CHECKPOINT_METADATA", "[" * 100_000),
    "notes that are a pickle": put("_CHECKPOINT_METADATA", b"\x80\x04cos\nsystem\n(S'id'\ntR."),
    "a later step that is empty": lambda run: (run / STEP).with_name("99").mkdir(),
    "a link to data outside": _linked("state/ocdbt.process_0/d"),
    "a link to /dev/zero": _linked("state/_METADATA", "/dev/zero"),
    "a link to a step outside": _linked("", "/etc"),
    "a pipe": _pipe("state/_METADATA"),
    "progress nested deep": put("progress/metadata", "[" * 100_000),
    "place in the data nested deep": put("data/process_0-of-1.json", "[" * 100_000),
    "no configuration": lambda run: (run / "config.json").unlink(),
    "a configuration nested deep": lambda run: (run / "config.json").write_text("[" * 100_000),
    "a row of text": config(*_ROW, value="x"),
    "a setting that is not there": config(*_ROW, "__class__", value="x"),
    "settings that are a list": config(*_ROW, "data", value=[1, 2]),
    "a width of text": config(*_ROW, "model", "d_model", value=[64]),
    "a width of 2⁴⁰": config(*_ROW, "model", "d_model", value=2**40),
    "a width of 1e3": config(*_ROW, "model", "d_model", value=1e3),
    "another width": config(*_ROW, "model", "d_model", value=64),
    "a data set ../../x": config(*_ROW, "data", "name", value="../../x"),
    "a file that is not there": config(*_ROW, "data", "path", value="/nowhere/a.tsv"),
    "a formula of 100,000 brackets": config(*_ROW, "mask", "decoder", value="(" * 100_000),
    "a formula of code": config(*_ROW, "mask", "decoder", value="__import__('os').system('id')"),
}
"""By what was done to a run, or to its only checkpoint."""
