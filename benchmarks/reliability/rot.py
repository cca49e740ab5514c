"""Bits that flip, and files that are cut, emptied or lost, in what a run goes on from and is judged by."""

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from benchmarks.reliability import Outcome
from benchmarks.reliability.small import Small, copied, files, same
from flaxmask.names import Refused
from flaxmask.training.seal import MANIFEST
from flaxmask.training.step import TrainState

NEWEST, BEFORE = 8, 6


def flip(path: Path, rng: np.random.Generator):
    """One bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda path: flip(path, np.random.default_rng(len(str(path)))),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "no content": lambda path: path.write_bytes(b""),
    "no file": lambda path: path.unlink(),
}
"""What is done to a file, and so what is left of it."""


def flipped_bits(folder: Path, count: int = 20) -> list[Outcome]:
    """One bit of the newest checkpoint, of any file and at any place, each time of a fresh copy."""
    small, rng = Small.of(), np.random.default_rng(0)
    small.train(folder / "run")
    wanted = only(small, folder / "run", folder / "copy", BEFORE)
    noticed = used = 0
    for _ in range(count):
        copy = copied(folder / "run", folder / "copy")
        path = rng.choice(np.array(files(copy / str(NEWEST)), object))
        flip(path, rng)
        said: list[str] = []
        state = small.restored(copy, said.append)
        noticed += _names(said, copy, path)
        used += same(state, wanted)
    asked = "noticed, named in one line", "the one before it is used, bit for bit"
    return [
        Outcome("one bit of the newest checkpoint flips", what, f"{reached}/{count}", reached == count)
        for what, reached in zip(asked, (noticed, used), strict=True)
    ]


def broken_files(folder: Path) -> list[Outcome]:
    """Every file of the newest checkpoint in turn, damaged in every way; and its manifest lost."""
    small = Small.of()
    small.train(folder / "run")
    wanted = only(small, folder / "run", folder / "copy", BEFORE)
    names = [path.relative_to(folder / "run") for path in files(folder / "run" / str(NEWEST))]
    wrong, outcomes = 0, []
    for damage, do in DAMAGE.items():
        named = 0
        for name in names:
            copy = copied(folder / "run", folder / "copy")
            do(copy / name)
            said: list[str] = []
            wrong += not same(small.restored(copy, said.append), wanted)
            lost = damage == "no file" and name.name == MANIFEST
            named += (len(said) == 1 and "is not sealed" in said[0]) if lost else _names(said, copy, copy / name)
        what = f"each of the {len(names)} files of the newest checkpoint: {damage} is left"
        outcomes.append(Outcome(what, "noticed, named in one line", f"{named}/{len(names)}", named == len(names)))
    count = len(names) * len(DAMAGE)
    return [*outcomes, Outcome("all of these", "0 wrong restores", f"{wrong} of {count}", wrong == 0)]


def judged(folder: Path) -> list[Outcome]:
    """One bit of each set of parameters that a run is judged by, in turn; then the same command again."""
    kinds = {"epochs": {"epochs": "2", "average_epochs": "2"}, "best": {"best_by": "loss", "curve_every": "1"}}
    return [outcome for kind, changes in kinds.items() for outcome in _judged(folder / kind, kind, changes)]


def _judged(place: Path, kind: str, changes: dict[str, str]) -> list[Outcome]:
    small, rng = Small.of(**changes, keep_checkpoints="9"), np.random.default_rng(0)
    wanted, _ = small.train(place / "run")
    steps = sorted(int(path.name) for path in (place / "run" / kind).iterdir() if path.name.isdigit())
    refused = whole = 0
    for step in steps:
        copy = copied(place / "run", place / "copy")
        path = rng.choice(np.array(files(copy / kind / str(step)), object))
        flip(path, rng)
        refused += _refuses(small, copy, path)
        said: list[str] = []
        whole += same(small.train(copy, said.append)[0], wanted) and _names(said, copy, path)
    # And where no checkpoint is old enough to make them again.
    copy = copied(place / "run", place / "copy")
    for path in copy.iterdir():
        if path.name.isdigit() and int(path.name) < steps[-1]:
            shutil.rmtree(path)
    flip(files(copy / kind / str(steps[-1]))[0], rng)
    said = _refusal(lambda: small.train(copy))
    what, n = f"one bit flips in {kind}/, which a run is judged by", len(steps)
    return [
        Outcome(what, "refused, with the file's name", f"{refused}/{n}", refused == n),
        Outcome(f"{what}; trained again", "one line; the unbroken result, bit for bit", f"{whole}/{n}", whole == n),
        Outcome(
            f"{what}; every checkpoint is younger",
            "refused in one line",
            said,
            f"/{kind}/" in said and "to train anew" in said and "\n" not in said,
        ),
    ]


def only(small: Small, folder: Path, copy: Path, step: int) -> TrainState:
    """The state of one checkpoint, out of a copy where there is no other."""
    copied(folder, copy)
    for path in copy.iterdir():
        if path.name.isdigit() and path.name != str(step):
            shutil.rmtree(path)
    state = small.restored(copy, print)
    assert state is not None
    assert int(state.step) == step
    return state


def _names(said: list[str], folder: Path, path: Path) -> bool:
    """Whether one line names a broken file, its checkpoint, and what is used instead."""
    step = path.relative_to(folder).parts[0]
    [line] = said if len(said) == 1 else [""]
    return line.count("\n") == 0 and path.name in line and f"/{step}" in line and "is used instead" in line


def _refuses(small: Small, folder: Path, path: Path) -> bool:
    """Whether the parameters that a finished run is judged by are refused, with the file's name."""
    with small.checkpoints(folder) as kept:
        said = _refusal(lambda: kept.params(jax.eval_shape(small.setting.state)))
    return path.name in said and "the run is judged by it" in said


def _refusal(do: Callable[[], object]) -> str:
    """How something is refused; "" where it is not."""
    try:
        do()
    except Refused as error:
        return str(error)
    return ""


TRIALS = (flipped_bits, broken_files, judged)
