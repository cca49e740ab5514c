"""Folders as a run leaves them, and what somebody who means harm makes of them."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flaxmask.reporting import counts, results

SCRIPT = "</script><!--<script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg/onload=alert(1)>"
PROVENANCE = {
    "git": "0123456789abcdef",
    "dirty": False,
    "versions": {"python": "3.11", "jax": "0.10.2", "flax": "0.12.8"},
    "devices": ["cpu: cpu"],
    "command": "run.py --experiment padding",
}
ROWS = ("static", "packed")
ATTENDED = {
    "rows": [{"source": ["c", "a$b$", "<pad>"], "target": ["<bos>", "x"]}],
    "maps": [
        {
            "name": "decoder_0/cross_attention",
            "query": "target",
            "key": "source",
            "weights": [[[[100, 200, 700], [0, 1000, 0]]]],
            "visible": [[[1, 1, 1], [1, 1, 1]]],
        }
    ],
}
LENGTHS = {"length": [0, 3], "examples": [0, 20], "tokens": [0, 100], "slots": [30, 160]}


def make(folder: Path) -> Path:
    """A run of two rows, as if it had been trained."""
    masks = {"mask": {"encoder": "segment", "decoder": "causal & segment", "cross": "segment"}}
    settings = {
        "experiment": "padding",
        "title": "What padding costs",
        "scale": "quick",
        "parallel": "jit",
        "parts": [{"title": "What padding costs", "rows": [*ROWS], "columns": ["real_tokens_per_second", "per"]}],
        "rows": dict.fromkeys(ROWS, masks),
        "published": {"static": {"per": "20.5"}},
        "notes": ["a note"],
    }
    folder.mkdir(parents=True)
    (folder / results.SETTINGS).write_text(json.dumps(settings))
    for number, row in enumerate(ROWS):
        metrics = {"real_tokens_per_second": 1e4 * (1 + number), "per": 20.0 + number, "loss": 1.25}
        line = {"experiment": "padding", "row": row, "seed": 0, "metrics": metrics, "provenance": PROVENANCE}
        results.append(folder, line)
        kept = results.Kept(folder, row, 0)
        counts.write(kept.counts, {"per": np.array([[number, 5]] * 8), "loss": np.array([[1.5, 1.0]] * 8)})
        points = [{"updates": i, "real_tokens": 9 * i, "seconds": i, "per": 90 / i} for i in (1, 2)]
        for path, content in ((kept.curve, points), (kept.lengths, LENGTHS), (kept.attention, ATTENDED)):
            results.write_whole(path, json.dumps(content))
        results.write_whole(kept.audit.with_name(kept.audit.name + ".txt"), "audit: obeys what it declares\n")
    return folder


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch pickled",)


def edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Change a JSON file in place; the first line of a file of lines."""

    def apply(folder: Path):
        path = folder / name
        first, *rest = path.read_text().splitlines() if name.endswith("l") else [path.read_text()]
        found = json.loads(first)
        changed = change(found)
        path.write_text("\n".join([json.dumps(found if changed is None else changed), *rest]) + "\n")

    return apply


def put(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Put other content into a file."""

    def apply(folder: Path):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return apply


def link(name: str, to: str) -> Callable[[Path], None]:
    """Put a link in the place of a file or a folder."""

    def apply(folder: Path):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            path.rename(folder / f"old-{path.name}")
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return apply


def pipe(name: str) -> Callable[[Path], None]:
    """Put a pipe in the place of a file: who opens it waits for ever."""

    def apply(folder: Path):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return apply


def archive(**arrays: Any) -> bytes:
    """Of NumPy arrays, objects too."""
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def zipped(**members: bytes) -> bytes:
    """An archive of any bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return packed.getvalue()


def _huge_header() -> bytes:
    """An array that is said to have 2⁶⁰ numbers."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976, 2), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def _row(name: str) -> Callable[[Path], None]:
    """Call the first row otherwise, everywhere."""

    def apply(folder: Path):
        edit("results.jsonl", lambda of: of.update(row=name))(folder)

        def change(of: Any):
            of["rows"] = {name if row == ROWS[0] else row: how for row, how in of["rows"].items()}
            of["parts"][0]["rows"][0] = name
            of["published"] = {}

        edit("config.json", change)(folder)

    return apply


def _texts(text: str) -> Callable[[Path], None]:
    """Put a text wherever one is shown, but for the names of files."""

    def apply(folder: Path):
        def settings(of: Any):
            of.update(title=text, scale=text, parallel=text, notes=[text], published_by=text)
            of["parts"][0].update(title=text, reference=text, margin=1.0)
            for row in of["rows"].values():
                row["mask"] = dict.fromkeys(row["mask"], text)

        edit("config.json", settings)(folder)
        said = {"git": text, "command": text, "started": text, "devices": [text]}
        versions = dict.fromkeys(("python", "jax", "flax", text), text)
        more = {"samples": {text: text}, "signatures": {"per": text}}
        edit("results.jsonl", lambda of: of | more | {"provenance": PROVENANCE | said | {"versions": versions}})(folder)
        put("audit/static-0.txt", text)(folder)

        def attended(of: Any):
            of["rows"] = [{"source": [text] * 3, "target": [text] * 2, text: [text]}]
            of["maps"][0]["name"] = text

        edit("attention/static-0.json", attended)(folder)

    return apply


def _value(*path: str | int, value: Any) -> Callable[[Any], None]:
    """Set what stands at a path in a tree."""

    def change(of: Any):
        for key in path[:-1]:
            of = of[key]
        of[path[-1]] = value

    return change


_LINE = '{"row": "static", "seed": 0, "metrics": {}, "provenance": {}}\n'

HARM: dict[str, Callable[[Path], None]] = {
    # What is shown, and must be shown as text.
    "script in every text": _texts(SCRIPT),
    "escapes of a terminal in every text": _texts("\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"),
    "markup of rich in every text": _texts("[/bold][link=file:///etc/passwd]x[/link][/]"),
    "LaTeX in every text": _texts("\n\\input{/etc/passwd}\\write18{id} ^^M $x_$ $\\foo{$"),
    "script as a row": _row(SCRIPT.replace("/", "∕")),
    "mathematics as a row": _row("a$\\foo{$ _b"),
    "markup as a row": _row("[∕bold][bold"),
    # Names that lead elsewhere.
    "row ../../x": _row("../../x"),
    "row /etc/passwd": _row("/etc/passwd"),
    "row with NUL": _row("a\0b"),
    "row of a terminal": _row("\x1b[2J"),
    "row of 10,000 letters": _row("a" * 10_000),
    "row that is empty": _row(""),
    "row .": _row("."),
    "row a\\..\\b": _row("a\\..\\b"),
    "experiment ../../x": edit("config.json", _value("experiment", value="../../x")),
    "metric =cmd": edit("results.jsonl", _value("metrics", "=cmd|' /C calc'!A0", value=1.0)),
    "seed as a path": edit("results.jsonl", _value("seed", value="../../../x")),
    "seed of 400 digits": put("results.jsonl", _LINE.replace(" 0,", f" {'9' * 400},")),
    "seed of 5,000 digits": put("results.jsonl", _LINE.replace(" 0,", f" {'9' * 5000},")),
    "seed below 0": edit("results.jsonl", _value("seed", value=-1)),
    # JSON.
    "results nested 100,000 deep": put("results.jsonl", "[" * 100_000),
    "results nested 1,000 deep": put("results.jsonl", '{"a":' * 900 + "1" + "}" * 900),
    "settings nested 100,000 deep": put("config.json", '{"a":' * 100_000),
    "keys that stand twice": put("results.jsonl", _LINE.replace('"seed"', '"row": "x", "seed"')),
    "numbers beyond floats": put("results.jsonl", _LINE.replace("{}", '{"per": 1e999}')),
    "an int beyond floats": put("results.jsonl", _LINE.replace("{}", f'{{"per": 1{"0" * 400}}}')),
    "metrics that are text": put("results.jsonl", _LINE.replace("{}", '{"per": "__import__(\'os\')"}', 1)),
    "metrics that are a list": edit("results.jsonl", _value("metrics", value=[1])),
    "a line that is a number": put("results.jsonl", "5\n"),
    "no provenance": edit("results.jsonl", lambda of: of.pop("provenance") and None),
    "provenance of text": edit("results.jsonl", _value("provenance", value="x")),
    "no devices": edit("results.jsonl", _value("provenance", "devices", value=[])),
    "results that are no UTF-8": put("results.jsonl", b"\xff\xfe{}"),
    "settings that are a list": put("config.json", "[]"),
    "settings of no UTF-8": put("config.json", b"\xff"),
    "no parts": edit("config.json", lambda of: of.pop("parts") and None),
    "columns of no metric": edit("config.json", _value("parts", 0, "columns", value=["__class__"])),
    "parts that are numbers": edit("config.json", _value("parts", value=[1])),
    "published by a formula": edit("config.json", _value("published", value={"static": {"per": "1e999"}})),
    "published as an object": edit("config.json", _value("published", value={"static": {"per": {}}})),
    "rows as a list": edit("config.json", _value("rows", value=["static"])),
    # Files beside them.
    "counts of objects": put("counts/static-0.npz", archive(per=np.array([Bomb()], dtype=object))),
    "counts as a pickle": put("counts/static-0.npz", pickle.dumps(Bomb())),
    "counts as one array": put("counts/static-0.npz", _huge_header()),
    "counts of a huge array": put("counts/static-0.npz", zipped(**{"per.npy": _huge_header()})),
    "counts that are a bomb": put("counts/static-0.npz", zipped(**{"per.npy": bytes(1 << 28)})),
    "counts of a member ../../x": put("counts/static-0.npz", zipped(**{"..__..__x.npy": b"x"})),
    "counts of text": put("counts/static-0.npz", archive(per=np.array([["a", "b"]]))),
    "counts of another shape": put("counts/static-0.npz", archive(per=np.ones(8))),
    "counts of NaN": put("counts/static-0.npz", archive(per=np.full((8, 2), np.nan))),
    "counts below 0": put("counts/static-0.npz", archive(per=np.full((8, 2), -3))),
    "counts of too few columns": put("counts/static-0.npz", archive(per=np.ones((8, 1)), bleu=np.ones((8, 3)))),
    "counts that are garbage": put("counts/static-0.npz", b"PK\x03\x04" + b"\xff" * 100),
    "a curve nested deep": put("curves/static-0.json", "[" * 100_000),
    "a curve of text": put("curves/static-0.json", '[{"updates": "x"}]'),
    "a curve of nothing shared": put("curves/static-0.json", '[{"a": 1}, {"b": 2}]'),
    "a curve of huge numbers": put("curves/static-0.json", '[{"updates": 1e308, "per": 1e308}]'),
    "lengths of nothing": put("lengths/static-0.json", '{"length": [], "tokens": [], "slots": []}'),
    "lengths that differ": put("lengths/static-0.json", '{"length": [1], "tokens": [1, 2], "slots": [1]}'),
    "lengths of no slots": put("lengths/static-0.json", '{"length": [1], "tokens": [0], "slots": [0]}'),
    "attention of nothing": put("attention/static-0.json", '{"rows": [], "maps": []}'),
    "attention of ragged weights": edit(
        "attention/static-0.json", _value("maps", 0, "weights", value=[[[[1], [1, 2, 3]]]])
    ),
    "attention of a stream __proto__": edit("attention/static-0.json", _value("maps", 0, "query", value="__proto__")),
    "attention of text": edit("attention/static-0.json", _value("maps", 0, "weights", value="x")),
    "attention of a source that reads a target": edit(
        "attention/static-0.json", lambda of: of["maps"][0].update(query="source", key="target")
    ),
    "an audit of no UTF-8": put("audit/static-0.txt", b"\xff\xfe"),
    "a picture that is a page": put("audit/static-0.png", SCRIPT),
    # Links and what is no file.
    **{
        f"{name} is a link to {to}": link(name, to)
        for name, to in (
            *(("results.jsonl", "/etc/passwd"), ("config.json", "/dev/zero"), ("curves/static-0.json", "/dev/zero")),
            *(("table.md", "../outside/victim"), ("table.md.tmp", "../outside/victim"), ("figures", "../outside")),
            *(("report.html", "../outside/victim"), ("audit", "../outside"), ("checkpoints", "../outside")),
            *(("counts", "/"), ("lengths", "lengths"), ("metrics.jsonl", "../outside/victim")),
        )
    },
    **{f"{name} is a pipe": pipe(name) for name in ("results.jsonl", "config.json", "attention/static-0.json")},
    "table.csv is a folder": lambda folder: (folder / "table.csv").mkdir(),
    "figures is a file": put("figures", "x"),
}
"""By what was done."""
