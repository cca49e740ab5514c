"""Input that nobody should trust, and settings that nobody meant: what a run makes of them."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import run
from benchmarks.reliability import Outcome, inert, slips
from benchmarks.reliability import tampered_checkpoints as checkpoints
from benchmarks.reliability import tampered_folders as folders
from benchmarks.reliability.watch import Watch
from flaxmask import commands

ROOT = Path(__file__).parents[2]


class Tried(NamedTuple):
    """What came of one command.

    Attributes:
      name: of what was done before.
      code: the exit code, or the name of what was raised.
      said: on stderr.
      wrong: what should not have happened.
    """

    name: str
    code: int | str
    said: str
    wrong: list[str]

    @property
    def held(self) -> bool:
        """Refused in one line, or done without one; and nothing wrong happened."""
        lines = self.said.count("\n")
        return not self.wrong and (self.code, lines) in ((2, 1), (0, 0)) and "Traceback" not in self.said


def tried(name: str, arguments: Sequence[str], watch: Watch, stdin: str = "") -> Tried:
    """A command in this process, with what it did."""
    said, shown = io.StringIO(), io.StringIO()
    old, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin.encode()))
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown), watch.noting() as notes:
            try:
                code = run.main(list(arguments))
            except BaseException as error:
                code = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        sys.stdin = old
    if any(not (char.isprintable() or char == "\n") for char in shown.getvalue() + said.getvalue()):
        notes.append("escapes to the terminal")
    return Tried(name, code, said.getvalue(), list(notes))


def _fresh(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder of its own beside one that must stay as it is."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "outside").mkdir(parents=True)
    (folder / "outside" / "victim").write_text("untouched")
    make(folder / "run")
    return folder / "run"


def _touched(folder: Path) -> list[str]:
    found = {path.name: path.read_text() for path in (folder / "outside").iterdir()}
    strays = {path.name for path in folder.iterdir()} - {"outside", "run"}
    return [f"outside: {found}"] * (found != {"victim": "untouched"}) + [f"beside it: {strays}"] * bool(strays)


def reports(folder: Path) -> Iterator[Tried]:
    """`--report` of every folder that somebody means harm with, and `--workdir` of it."""
    watch = Watch(folder)
    directory = _fresh(folder / "0", folders.make)
    with watch.learning():
        _claim(_fresh(folder / "0", folders.make))
        tried("none", ["--report", str(directory)], watch)
    yield tried("none", ["--report", str(directory)], watch)
    for number, (name, harm) in enumerate(folders.HARM.items(), start=1):
        place = folder / str(number)
        harm(directory := _fresh(place, folders.make))
        found = tried(name, ["--report", str(directory)], watch)
        page = directory / "report.html"
        if found.code == 0 and (wrong := inert.wrong(page.read_text())):
            found.wrong.append(f"report.html: {wrong}")
        found.wrong.extend(_touched(place))
        yield found
        with watch.noting() as notes:
            notes += _claim(directory)
        yield Tried(f"--workdir: {name}", 2, "\n", [*notes, *_touched(place)])
        shutil.rmtree(place)


def _claim(directory: Path) -> list[str]:
    """What else than a refusal a run in this folder would begin with."""
    try:
        commands.prepare("padding", workdir=directory).claim()
    except run.Refused:
        return []
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return []


def translations(folder: Path) -> Iterator[Tried]:
    """`--translate` of every checkpoint that somebody means harm with."""
    trained = checkpoints.train(folder / "trained")
    watch = Watch(folder)
    copy = lambda to: shutil.copytree(trained, to, symlinks=True)
    ask = lambda at: ["--translate", str(at / "checkpoints" / "static-0")]
    with watch.learning():
        tried("none", ask(_fresh(folder / "0", copy)), watch, "ABACUS\n")
    intact = tried("none", ask(_fresh(folder / "0", copy)), watch, "ABACUS\n")
    yield intact._replace(said="")
    for number, (name, harm) in enumerate(checkpoints.HARM.items(), start=1):
        place = folder / str(number)
        harm(directory := _fresh(place, copy))
        found = tried(name, ask(directory), watch, "ABACUS\n")
        found.wrong.extend(_touched(place))
        if found.code == 0:
            found.wrong.extend(["it was taken"] * (name not in checkpoints.HARMLESS))
            found = found._replace(said="")  # a bar of progress
        yield found
        shutil.rmtree(place)


CHILDREN = {"reports": reports, "translations": translations}


def _in_a_child(name: str, folder: Path, **environment: str) -> list[Tried]:
    """What a child tried, as far as it came; the last says how it ended where that was not as it should."""
    folder.mkdir(parents=True, exist_ok=True)
    caches = {"XDG_CACHE_HOME": str(folder / "cache"), "MPLCONFIGDIR": str(folder / "cache")}
    line = [sys.executable, "-m", "benchmarks.reliability.input", name, str(folder)]
    done = subprocess.run(
        line, cwd=ROOT, env=os.environ | caches | environment, capture_output=True, text=True, check=False
    )
    found = [Tried(*json.loads(text)) for text in done.stdout.splitlines()]
    ended = Tried("the end", done.returncode, done.stderr[-500:], [f"the process ended by {done.returncode}"])
    return found + [ended] * (done.returncode != 0)


def _outcome(what: str, found: Sequence[Tried], most: int) -> Outcome:
    """One line for all of them; `most` counts how many there should be."""
    bad = [one for one in found if not one.held]
    refused = sum(one.code == 2 for one in found)
    reached = f"{len(found)}: {refused} refused in one line, {len(found) - refused - len(bad)} shown as text"
    if bad:
        reached += f"; {len(bad)} not held: " + "; ".join(
            f"{one.name}: {one.code} {one.said!r} {one.wrong}" for one in bad
        )
    asked = f"{most} of {most} run no code, write nothing outside, and are refused in one line or shown as text"
    return Outcome(what, asked, reached, not bad and len(found) == most)


def hostile_reports(folder: Path) -> list[Outcome]:
    """Folders of results that were tampered with."""
    found = _in_a_child("reports", folder / "reports")
    what = "results folders tampered with: `--report`, and `--workdir` on them"
    return [_outcome(what, found, 1 + 2 * len(folders.HARM))]


def hostile_checkpoints(folder: Path) -> list[Outcome]:
    """Checkpoints that were tampered with."""
    found = _in_a_child("translations", folder / "translations")
    return [_outcome("checkpoints tampered with: `--translate`", found, 1 + len(checkpoints.HARM))]


IN_ONE = """
import contextlib, io, json, sys
import run
for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = run.main(arguments)
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    print(json.dumps([code, said.getvalue(), "jax" in sys.modules]), flush=True)
"""
"""Many commands one after another, and whether jax had started after each."""
ALONE = "import sys, run; code = run.main(sys.argv[1:]); assert 'jax' not in sys.modules; sys.exit(code)"


def wrong_settings(folder: Path, alone: int = 8) -> list[Outcome]:
    """Typical slips, all in one process, and every so many-th in one of its own, as a user has it."""
    folder.mkdir(parents=True, exist_ok=True)
    all_, bad = slips.slips(folder), []
    asked = json.dumps([arguments for arguments, _ in all_])
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE], cwd=ROOT, input=asked, capture_output=True, text=True, check=False
    )
    answers = [json.loads(text) for text in done.stdout.splitlines()]
    for (arguments, message), (code, said, jax) in zip(all_, answers, strict=False):
        if code != 2 or jax or said.count("\n") != 1 or message not in said:
            bad.append(f"{' '.join(arguments)}: {code} {said!r}{' after jax had started' * jax}")
    few = all_[:: max(1, len(all_) // alone)]
    for arguments, message in few:
        line = [sys.executable, "-c", ALONE, *arguments]
        one = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        if one.returncode != 2 or one.stdout or one.stderr.count("\n") != 1 or message not in one.stderr:
            bad.append(f"alone, {' '.join(arguments)}: {one.returncode} {one.stderr[-300:]!r}")
    good = len(answers) - sum(not one.startswith("alone") for one in bad)
    reached = f"{good} of {len(all_)}, {len(few)} of them in a process each"
    what = "settings that nobody meant: typos, types, choices, ranges, contradictions, paths"
    asked = "all refused before jax starts: exit code 2, one line on stderr, with the nearest name where there is one"
    return [Outcome(what, asked, "; ".join([reached, *bad]), not bad and len(answers) == len(all_))]


def faults(folder: Path, count: int = 100_000) -> list[Outcome]:
    """Formulas, command lines and files by the thousand, nearly right or not at all."""
    from benchmarks.reliability import fuzz

    done = fuzz.all_targets(folder / "fuzz", count)
    outcomes = []
    for one in done:
        reached = f"{one.inputs:,} inputs ({one.different:,} different): {one.accepted:,} read, {one.refused:,} refused"
        crashed = f"; {len(one.crashes)} crashes, such as {'; '.join(one.crashes[: fuzz.SHOWN])}" if one.crashes else ""
        both = one.accepted > 0 and one.refused > 0  # else nothing was tried
        asked = "read, or refused by an error of ours in one line" + (
            "; what is read is printed and read as the same" if one.name == "formulas of masks" else ""
        )
        outcomes.append(Outcome(f"faults in {one.name}", asked, reached + crashed, both and not one.crashes))
    total = sum(one.inputs for one in done)
    return [*outcomes, Outcome("faults in all", f"{count:,} inputs", f"{total:,}", total >= count)]


TRIALS: tuple[Callable[[Path], list[Outcome]], ...] = (hostile_reports, hostile_checkpoints, wrong_settings, faults)


if __name__ == "__main__":
    for one in CHILDREN[sys.argv[1]](Path(sys.argv[2])):
        print(json.dumps(one), file=sys.__stdout__, flush=True)
