"""Inputs by the thousand, valid ones with a few faults and plain noise, for everything that reads what people wrote."""

import contextlib
import dataclasses
import gzip
import io
import json
import lzma
import shutil
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import run
from benchmarks.reliability import tampered_folders as folders
from flaxmask import commands, masks
from flaxmask.data.config import DataConfig
from flaxmask.data.sources import files, lines, plain
from flaxmask.data.sources.cmudict import read_dictionary, read_standard
from flaxmask.data.sources.length_histograms import BERT
from flaxmask.data.sources.sentence_polarity import MEMBERS, read_archive
from flaxmask.data.sources.tatoeba import read_rows
from flaxmask.data.sources.wnut17 import TAGS, read_sentences
from flaxmask.data.tasks import load_task
from flaxmask.experiment import Config
from flaxmask.names import Refused
from flaxmask.overrides import flat
from flaxmask.reporting import report

SEED = 20
SHOWN = 5
"""Crashes that are told of."""


class Tally(NamedTuple):
    """What became of the inputs of a target.

    Attributes:
      name: of the target.
      accepted: inputs that were read.
      refused: inputs that were refused by an error of ours, in one line.
      different: inputs, less those that came twice.
      crashes: everything else: the input and what was raised.
    """

    name: str
    accepted: int
    refused: int
    different: int
    crashes: list[str]

    @property
    def inputs(self) -> int:
        """Of the target."""
        return self.accepted + self.refused + len(self.crashes)


def tally(name: str, read: Callable[[Any], Any], inputs: st.SearchStrategy, count: int, ours: type = Refused) -> Tally:
    """Give a target its inputs.

    Args:
      name: of the target.
      read: raises `ours` where it refuses; whatever else it raises is a crash.
      inputs: to draw from.
      count: how many.
      ours: the error that is documented.
    """
    numbers, seen, crashes = {"accepted": 0, "refused": 0}, set(), []

    @seed(SEED)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def one(value: Any):
        seen.add(hash(repr(value)))
        try:
            read(value)
            numbers["accepted"] += 1
        except ours as error:
            if "\n" in str(error) or (type(error) is not ours and not isinstance(error, Refused)):
                crashes.append(f"{value!r:.300}: {type(error).__name__}: {error}")
            else:
                numbers["refused"] += 1
        except Exception as error:
            crashes.append(f"{value!r:.300}: {type(error).__name__}: {error}")

    one()
    return Tally(name, numbers["accepted"], numbers["refused"], len(seen), crashes)


def drawn(make: Callable[[Random], Any]) -> st.SearchStrategy:
    """Inputs that a function makes of a generator: grammars are a hundred times as fast so."""
    return st.integers(0, 2**63).map(lambda number: make(Random(number)))


def faulty(whole: Callable[[Random], Any], noise: Sequence[Any], most: int = 3) -> Callable[[Random], Any]:
    """A text or bytes, in half of the cases with up to so many cuts and insertions."""

    def make(random: Random) -> Any:
        text = whole(random)
        for _ in range(random.choice([0] * most + [*range(1, most + 1)])):
            place, cut = random.randint(0, len(text)), random.choice([0, 0, 1, 1, 4, 20])
            text = text[:place] + random.choice(noise) + text[place + cut :]
        return text

    return make


# Formulas.

_TABLES = ("1x1:gA==", "2x2:oA==", "0x0:", "3x3:qqo=", "9x9:gA==", "01x1:gA==", "1x1:g", "0x9999999999:")
_SIGNS = [*"&|~(), -_x09", "  ", "causal", "segmnt", "\n", "\0", "٣", "ϲ", "∧", "by(", "(" * 60, "~" * 60, "9" * 5000]


def formula(random: Random, deep: int = 4) -> str:
    """Of the grammar; its numbers may be out of range."""
    number = lambda: str(random.choice([*range(10), *range(10), -1, 2**30, 2**30 + 1, 10**30]))
    kind = random.randrange(11 if deep else 6)
    if kind < 3:
        return random.choice(["full", "padding", "causal", "segment", "prefix"])
    if kind < 6:
        name = random.choice(["window", "window", "strided", "global_tokens", "dilated", "random_blocks", "explicit"])
        count = {"window": random.choice([1, 2]), "dilated": 2, "random_blocks": random.choice([2, 3])}.get(name, 1)
        return f"{name}({random.choice(_TABLES) if name == 'explicit' else ', '.join(number() for _ in range(count))})"
    if kind < 9:
        return f"{formula(random, deep - 1)} {random.choice('&|')} {formula(random, deep - 1)}"
    return f"~{formula(random, 0)}" if kind == 9 else f"({formula(random, deep - 1)})"


ANY_FORMULA = st.one_of(drawn(faulty(formula, _SIGNS)), drawn(faulty(formula, _SIGNS, 1)), st.text(max_size=40))


def read_formula(text: str):
    """Parse, and print, and parse again."""
    mask = masks.parse(text)
    assert masks.parse(str(mask)) == mask, f"{mask} is read as another"
    assert hash(masks.parse(str(mask))) == hash(mask)


# The command line.

_USUAL = {key: str(value) for key, value in flat(dataclasses.asdict(Config())).items()}
_KEYS = list(_USUAL)
_VALUES = [
    *(
        "0",
        "1",
        "2",
        "8",
        "-1",
        "0.1",
        "1e-3",
        "nan",
        "inf",
        "1e400",
        "None",
        "none",
        "True",
        "False",
        "true",
        "",
        "64",
    ),
    *("packed", "static", "dynamic", "lm", "mlm", "tagging", "recurrent", "causal", "xla", "cmudict", "wnut17", "pre"),
    *("--help", "-h", "--x", "9" * 30, "9" * 5000, "١", "[1]", "{}", "a=b", "a b", "\0", "\x1b[2J", "\ud800", "0.5"),
    *("multi30k/en-de", "../x", "/dev/zero", "a.tsv", "{split}.jsonl", "causal & segment & window(4)", "3", "16", "32"),
]
_OPTIONS = [
    *(("--scale", value) for value in ("smoke", "quick", "paper", "smok", "")),
    *(("--seeds", value) for value in ("1", "3", "0", "-1", "x", "9" * 20, "1e3")),
    *(("--row", value) for value in ("static", "packed", "pakced", "")),
    *(("--parallel", value) for value in ("jit", "pmap", "x")),
    *(("--workdir", value) for value in ("x", "", "\0", "/dev/null")),
    *((one,) for one in ("--dry-run", "--audit", "--scores", "--list", "--report", "--nbest", "-", "--", "--é")),
]


def command(random: Random) -> list[str]:
    """A line of which most parts are right."""
    pages = ["padding"] * 12 + ["g2p", "tagging", "mask_forms", "paddin", "../padding", "os", ""]
    line = ["--experiment", random.choice(pages)]
    for key in random.sample(_KEYS, random.choice([0, 1, 1, 1, 2, 3])):
        value = formula(random) if key.startswith("mask.") else random.choice([*_VALUES, *[_USUAL[key]] * 40])
        line.append(
            f"{faulty(lambda _, key=key: key, ['.', 'x', '_'], 1)(random) if random.random() < 0.1 else key}={value}"
        )
    return line + [*random.choice(_OPTIONS)] * (random.random() < 0.3)


COMMANDS = st.one_of(
    drawn(command),
    drawn(command),
    drawn(command),
    st.lists(st.text(max_size=12), min_size=1, max_size=3).map(lambda line: ["--experiment", "padding", *line]),
)


def read_command(arguments: list[str]):
    """Everything that comes before jax; of what is accepted the settings are JSON."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            options, overrides = run.parse(arguments)
    except SystemExit as asked_for_help:
        assert asked_for_help.code == 0  # noqa: PT017
        return
    if options.experiment is None:
        return
    how = {"seeds": options.seeds, "rows": options.row or (), "workdir": options.workdir, "parallel": options.parallel}
    table = commands.prepare(options.experiment, options.scale, overrides=overrides, **how)
    json.dumps(table.settings())


# Readers of data. Each takes bytes.

_WORDS = ["a", "B-person", "O", "B-group", "naïve", "猫", "0", "x y", "b", "c", "d", "e", "😀", "\u2028", "EY1", "A(2)"]
_NOISE = [
    *(b"\n", b"\t", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"{", b"[" * 2000, b'"', b"\\ud800", b"NaN", b'"a": 1, '),
    *(b"", b"", b" ", b"a", b"0", b"9" * 5000, b"1e999"),
]


def rows(columns: int | None, between: str = "\t", last: Sequence[str] = _WORDS) -> Callable[[Random], bytes]:
    """Lines of so many words, or of a number that differs from file to file."""

    def make(random: Random) -> bytes:
        count = columns or random.randint(1, 3)
        line = lambda: between.join([*random.choices(_WORDS, k=count - 1), random.choice(last)])
        return "\n".join(line() if random.random() < 0.9 else "" for _ in range(random.randint(1, 8))).encode()

    return make


def tree(random: Random, deep: int = 3) -> Any:
    """Anything that JSON can say, and more."""
    kind = random.randrange(12 if deep else 9)
    if kind < 4:
        return random.choice(_WORDS)
    if kind < 9:
        return random.choice([0, 1, -9, 0.5, None, True, "", float("nan"), 1e308, 10**400])
    inner = [tree(random, deep - 1) for _ in range(random.randint(0, 3))]
    return inner if kind < 11 else dict(zip(_WORDS, inner, strict=False))


def objects(random: Random) -> bytes:
    """Lines of JSON objects, most of them of two texts."""
    value = lambda: random.choice(_WORDS) if random.random() < 0.9 else tree(random)
    lines = [{"source": value(), "target": value()} for _ in range(random.randint(1, 5))]
    return "\n".join(map(json.dumps, lines)).encode()


def _bytes(whole: Callable[[Random], bytes]) -> st.SearchStrategy[bytes]:
    faults = drawn(faulty(whole, _NOISE, 2))
    return st.one_of(faults, faults, faults, st.binary(max_size=60))


def _packed(whole: Callable[[Random], bytes], *packs: Callable[[bytes], bytes]) -> Callable[[Random], bytes]:
    return lambda random: random.choice(packs)(whole(random))


def _plain(folder: Path, ending: str) -> Callable[[bytes], Any]:
    def read(content: bytes):
        (folder / f"fuzz-train{ending}").write_bytes(content)
        found = plain.open_plain(str(folder / f"fuzz-{{split}}{ending}"), "train")
        for record in found.records():
            json.dumps(record)
        found.where(len(found) - 1)

    return read


def _tasks(folder: Path) -> Callable[[tuple[str, str, str, bytes]], Any]:
    def read(value: tuple[str, str, str, bytes]):
        kind, ending, tokenizer, content = value
        for split in ("train", "test"):
            (folder / f"task-{split}{ending}").write_bytes(content)
        path = str(folder / f"task-{{split}}{ending}")
        load_task(DataConfig(path=path, task=kind, target=None, tokenizer=tokenizer, evaluation_split="test"))  # type: ignore[arg-type]

    return read


def _texts(read: Callable[[list[str], object], Iterable[Any]]) -> Callable[[bytes], Any]:
    return lambda content: list(read(lines.decode_all(content, "file"), "file"))


def _published(content: bytes):
    """As a download is read before its digest is compared."""
    file = files.File("fuzz", None, "0" * 64)
    try:
        files._check(file, content, "fuzz", "mend")
    except Refused as error:
        if "SHA-256" not in str(error):
            raise


def _program(content: bytes):
    files._converted(BERT, content, "mend")


def _archive(random: Random) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for member in MEMBERS.values():
            file.writestr(f"sentence_polarity/{member}", rows(2, " ")(random))
    return packed.getvalue()


def _histograms(random: Random) -> bytes:
    counts = [", ".join(map(str, random.choices([0, 1, 7, 10**6, -1], k=4))) for _ in range(2)]
    names = ("wikipedia_histogram", "squad_1_1_histogram")
    lists = [f"{name} = np.array([{text}])" for name, text in zip(names, counts, strict=True)]
    return "\n".join(["import numpy as np", *lists, ""]).encode()


def _task(random: Random) -> tuple[str, str, str, bytes]:
    ending = random.choice([".jsonl", ".tsv", ".txt"])
    kinds = {".txt": ["lm", "mlm"], ".tsv": ["g2p"]}.get(ending, ["prefix_lm"])
    kind = random.choice(kinds + ["tagging", "classification", "text_to_text"] * (ending != ".txt"))
    whole = {".jsonl": objects, ".tsv": rows(2), ".txt": rows(1)}[ending]
    return kind, ending, random.choice(["characters", "words"]), faulty(whole, _NOISE, 2)(random)


def readers(folder: Path) -> dict[str, tuple[Callable[[Any], Any], st.SearchStrategy]]:
    """By name: what reads a kind of file, and what it is given."""
    gz, xz = gzip.compress, lzma.compress
    return {
        "plain files .tsv": (_plain(folder, ".tsv"), _bytes(rows(None))),
        "plain files .txt": (_plain(folder, ".txt"), _bytes(rows(None))),
        "plain files .jsonl": (_plain(folder, ".jsonl"), _bytes(objects)),
        "plain files .tsv.gz": (_plain(folder, ".tsv.gz"), _bytes(_packed(rows(2), gz))),
        "tasks of plain files": (_tasks(folder), drawn(_task)),
        "sentences with tags": (_texts(read_sentences), _bytes(rows(2, last=TAGS))),
        "sentence pairs": (_texts(read_rows), _bytes(rows(3))),
        "pronunciations": (_texts(read_standard), _bytes(rows(3, " "))),
        "the dictionary": (_texts(lambda texts, _: read_dictionary(texts)), _bytes(rows(3, " "))),
        "archives of sentences": (lambda content: list(read_archive(content, "zip")), _bytes(_archive)),
        "packed downloads": (_published, _bytes(_packed(rows(2), gz, xz))),
        "lists in a program": (_program, _bytes(_histograms)),
    }


# Results folders: trees with a value in the place of another.

_LIKELY = [
    *(
        "../x",
        "a/b",
        "per",
        "loss",
        "nan",
        "static",
        "$\\foo{",
        "\x1b[2J",
        "<script>",
        "x" * 300,
        "1e999",
        "",
        None,
        True,
    ),
    *(2**63, -1, 0, 1, 0.5, 1e308, 10**400, [], {}, [[]], [[[[1]]]], {"per": []}, {"a": {"b": {}}}, ["static"]),
]
_NAMED = ("config.json", "results.jsonl", "curves/static-0.json", "lengths/static-0.json", "attention/static-0.json")


def _places(tree: Any, before: tuple = ()) -> list[tuple]:
    """Paths to everything in a tree."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [before, *(place for key, value in inner for place in _places(value, (*before, key)))]


def _put(tree: Any, place: tuple, value: Any, lost: bool) -> Any:
    if not place:
        return value
    key, *rest = place
    if lost and not rest:
        return (
            [x for i, x in enumerate(tree) if i != key]
            if isinstance(tree, list)
            else {k: v for k, v in tree.items() if k != key}
        )
    changed = dict(tree) if isinstance(tree, dict) else list(tree)
    changed[key] = _put(tree[key], tuple(rest), value, lost)
    return changed


def results_folder(folder: Path) -> tuple[Callable[[Any], Any], st.SearchStrategy]:
    """What reads and shows a folder of results without drawing it, and folders with faults."""
    intact = folders.make(folder / "intact")
    trees = {name: [json.loads(text) for text in _split(name, (intact / name).read_text())] for name in _NAMED}

    def changed(random: Random) -> tuple[str, bytes, bool]:
        name = random.choice(_NAMED)
        found = trees[name]
        for _ in range(random.choice([1, 1, 2, 3])):
            if places := _places(found)[1:]:
                found = _put(found, random.choice(places), random.choice(_LIKELY), random.random() < 0.3)
        whole = "\n".join(map(json.dumps, found)).encode()
        text = faulty(lambda _: whole, _NOISE, 1)(random) if random.random() < 0.25 else whole
        return name, text, random.random() < 0.25

    def read(value: tuple[str, bytes, bool]):
        name, content, drawn_too = value
        before = (intact / name).read_bytes()
        (intact / name).write_bytes(content)
        try:
            found = report.join([intact])
            filled = [table for one in found for table in report.tables(one)]
            for table in filled:
                table.markdown(), table.latex(), table.rich(80)
            if drawn_too:
                report._figures(found[0])
            report._page(found, filled, {})
        finally:
            (intact / name).write_bytes(before)

    return read, drawn(changed)


def _split(name: str, text: str) -> list[str]:
    return text.splitlines() if name.endswith("l") else [text]


SHARES = {"formulas of masks": 0.6, "command lines": 0.055, "files": 0.34}
"""Of all inputs; what is left goes to results folders, which take longest."""


def all_targets(folder: Path, count: int) -> list[Tally]:
    """Every target; `count` inputs in all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kinds = readers(folder)
    share = lambda name: max(1, int(count * SHARES[name]))
    each = max(1, share("files") // len(kinds))
    done = [
        tally("formulas of masks", read_formula, ANY_FORMULA, share("formulas of masks"), ValueError),
        tally("command lines", read_command, COMMANDS, share("command lines")),
        *(tally(name, read, given, each) for name, (read, given) in kinds.items()),
    ]
    left = max(1, count - sum(one.inputs for one in done))
    return [*done, tally("results folders", *results_folder(folder), left)]
