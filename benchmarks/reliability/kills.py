"""SIGKILL, SIGTERM and Ctrl-C at all moments of a run, compared with a run that nobody disturbed."""

import hashlib
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.reliability import Outcome
from benchmarks.reliability.processes import (
    ROWS,
    Running,
    count,
    experiment,
    finish,
    grows,
    lines,
    running,
    saving,
    subject,
)
from flaxmask import lock
from flaxmask.reporting.metrics import MEASURED
from flaxmask.stopping import EXIT_CODES

UPDATES = 700
"""Of the tiny training run, so many that it does not end before it is killed as often as is asked for."""
SECONDS = 5.0
"""Within which a run that is asked to stop has saved and ended, once its update or compilation is done."""


def training_killed(folder: Path, kills: int = 20, inside: int = 10) -> list[Outcome]:
    """SIGKILL at random moments of a training run, every other time while Orbax writes a checkpoint.

    Each start comes past a checkpoint of its own before it is killed, so that the next goes on from another place.
    """
    whole, cut = folder / "training", folder / "training_killed"
    _once(whole, subject(whole, UPDATES))
    checkpoints, metrics, rng = cut / "checkpoints" / "row-0", cut / "metrics.jsonl", random.Random(0)
    within, places = 0, [0]
    while len(places) <= kills:
        with running(subject(cut, UPDATES), cut) as run:
            going = run.until(_newer(checkpoints, places[-1]))
            target = count(metrics) + rng.randrange(16)
            going = going and run.until(_reaches(metrics, target))
            if len(places) % 2:
                going = going and run.until(lambda: saving(checkpoints, run.began))
            time.sleep(rng.uniform(0.0, 0.02))
            if not going or run.send(signal.SIGKILL) != -signal.SIGKILL:
                break
        within += saving(checkpoints)
        places.append(_newest(checkpoints))
    finish(subject(cut, UPDATES), cut)
    done, same = len(places) - 1, _trained(cut) == _trained(whole)
    what = "training, killed with SIGKILL: parameters, optimiser, key, place in the data and all losses by SHA-256"
    asked = f"as undisturbed after {kills} kills, {inside} of them within a save"
    reached = (
        f"{'the same' if same else 'other'} after {done} kills, {within} within a save; updates {places[1:]} saved"
    )
    return [Outcome(what, asked, reached, same and done == kills and within >= inside)]


def _newest(checkpoints: Path) -> int:
    """Update of the newest whole checkpoint; 0 if there is none."""
    return max((int(path.name) for path in checkpoints.glob("[0-9]*") if _whole(path)), default=0)


def _newer(checkpoints: Path, update: int) -> Callable[[], bool]:
    """Whether there is a newer checkpoint by now."""
    return lambda: _newest(checkpoints) > update


def _reaches(path: Path, wanted: int) -> Callable[[], bool]:
    """Whether a file has so many lines by now."""
    return lambda: count(path) >= wanted


def _trained(folder: Path) -> str:
    """A hash of all that the training run has left that is not measured, every line of its losses in order."""
    final = json.loads((folder / "final.json").read_text(encoding="utf-8"))
    text = json.dumps([final, lines(folder / "metrics.jsonl")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Moment(NamedTuple):
    """When an experiment is disturbed.

    Attributes:
      name: of what it does then.
      there: whether it has come so far, in a run that began at that time.
      spread: seconds that it may go on at most.
      trains: whether it trains then.
    """

    name: str
    there: Callable[[float], bool]
    spread: float = 0.0
    trains: bool = False


def _arrived(run: Running, folder: Path, moment: Moment) -> Callable[[], bool]:
    """Whether it is this run that has the folder by now, and has come so far."""
    mine = f'"pid": {run.process.pid},'
    return lambda: any(mine in path.read_text() for path in folder.glob(lock.FILE)) and moment.there(run.began)


def _moments(folder: Path) -> list[Moment]:
    """In the order in which a run comes by; it goes on after each. What a killed run left half written is none."""
    updates, filled, first, second = folder / "metrics.jsonl", folder / "results.jsonl", *ROWS
    checkpoints = lambda row: folder / "checkpoints" / f"{row}-0"
    saved = lambda row: _newest(checkpoints(row)) >= LAST[row]
    return [
        Moment("starting", lambda began: (folder / lock.FILE).exists(), 1.0),
        Moment("training", lambda began: count(updates) > 1, 0.1, True),
        Moment("saving", lambda began: saving(checkpoints(first), began), 0.01, True),
        Moment("evaluating", lambda began: saved(first), 1.5),
        Moment("between two cells", lambda began: count(filled) == 1),
        Moment("training the second", lambda began: count(updates) > LAST[first], 0.1, True),
        Moment("auditing the second", lambda began: (folder / "attention" / f"{second}-0.json").exists(), 0.5),
        Moment("writing the report", lambda began: count(filled) == 2),
    ]


LAST = {"static": 30, "packed": 30}
"""Updates of each row of the tiny experiment."""


def _whole(path: Path) -> bool:
    return path.name.isdigit() and path.is_dir()


def experiment_killed(folder: Path) -> list[Outcome]:
    """SIGKILL at every kind of moment of a whole experiment, between its cells and within them."""
    whole, cut, rng = _undisturbed(folder), folder / "experiment_killed", random.Random(0)
    done, taken = [], 0
    for moment in _moments(cut):
        with running(experiment(cut), cut) as run:
            if run.until(_arrived(run, cut, moment)):
                time.sleep(rng.uniform(0.0, moment.spread))
                done += [moment.name] * (run.send(signal.SIGKILL) == -signal.SIGKILL)
            taken += "which ended without releasing it" in run.said
    taken += "which ended without releasing it" in finish(experiment(cut), cut)
    return [
        Outcome(
            "experiment, killed with SIGKILL between and within its cells: all results but what is measured",
            f"as undisturbed after {len(_moments(cut))} kills",
            f"{_compared(cut, whole)} after {len(done)} kills: {', '.join(done)}",
            _compared(cut, whole) == "the same" and len(done) == len(_moments(cut)),
        ),
        Outcome(
            "the same: lines of metrics.jsonl",
            "every update of every cell once, in order",
            _updates(cut),
            _updates(cut) == "every update once",
        ),
        Outcome(
            "the same: the lock that each killed run left",
            "is taken over by the next",
            f"{taken} of {len(done)}",
            taken == len(done),
        ),
    ]


def experiment_preempted(folder: Path) -> list[Outcome]:
    """SIGTERM at moments of an experiment: saved, an exit code of its own, in time; and the same results."""
    whole, cut, rng = _undisturbed(folder), folder / "experiment_preempted", random.Random(1)
    right, longest, asked = [], 0.0, 0
    chosen = ("training", "saving", "evaluating", "training the second", "auditing the second")
    for moment in [moment for moment in _moments(cut) if moment.name in chosen]:
        asked += 1
        with running(experiment(cut), cut) as run:
            if not run.until(_arrived(run, cut, moment)):
                continue
            time.sleep(rng.uniform(0.0, moment.spread))
            start = time.monotonic()
            code = run.send(signal.SIGTERM)
            longest = max(longest, time.monotonic() - start)
            # While it starts there is nothing to name yet.
            good = code == EXIT_CODES[signal.SIGTERM] and "run.py: stopped by SIGTERM" in run.said
            right += [moment.name] * (good and (not moment.trains or _saved_at_the_last(cut, run.said)))
    finish(experiment(cut), cut)
    return [
        Outcome(
            "experiment, asked to stop by SIGTERM: ends with code 75, and the last update is saved",
            f"{asked} of {asked}",
            f"{len(right)} of {asked}: {', '.join(right)}",
            len(right) == asked,
        ),
        Outcome(
            "the same: from the signal to the end of the process, the running update or compilation included",
            f"at most {SECONDS:.0f} s",
            f"at most {longest:.1f} s",
            longest <= SECONDS,
        ),
        Outcome(
            "the same: results and metrics.jsonl of the run that was stopped and went on",
            "as undisturbed",
            f"{_compared(cut, whole)}; {_updates(cut)}",
            (_compared(cut, whole), _updates(cut)) == ("the same", "every update once"),
        ),
    ]


def _saved_at_the_last(folder: Path, said: str) -> bool:
    """Whether the last update that was written down is what was saved, and what the user was told of."""
    last = lines(folder / "metrics.jsonl")[-1]
    checkpoints = folder / "checkpoints" / f"{last['row']}-0"
    told = f"{last['row']}, seed 0: update {last['update']} is saved; its checkpoints are in {checkpoints}"
    return told in said and _whole(checkpoints / str(last["update"]))


def experiment_interrupted(folder: Path) -> list[Outcome]:
    """Ctrl-C while it trains, and Ctrl-C twice."""
    whole, cut = _undisturbed(folder), folder / "experiment_interrupted"
    training = _moments(cut)[1]
    with running(experiment(cut), cut) as run:
        run.until(_arrived(run, cut, training))
        once = run.send(signal.SIGINT) == EXIT_CODES[signal.SIGINT] and _saved_at_the_last(cut, run.said)
    with running(experiment(cut), cut) as run:
        run.until(grows(cut / "metrics.jsonl"))
        run.process.send_signal(signal.SIGINT)
        run.until(lambda: "Ctrl-C again" in run.said)
        start = time.monotonic()
        twice = run.send(signal.SIGINT) == EXIT_CODES[signal.SIGINT] and "ended at once" in run.said
        seconds = time.monotonic() - start
    finish(experiment(cut), cut)
    return [
        Outcome(
            "experiment, Ctrl-C: ends with code 130, and the last update is saved",
            "yes",
            "yes" if once else "no",
            once,
        ),
        Outcome(
            "the same: a second Ctrl-C ends the process",
            "within 1 s",
            f"{'yes' if twice else 'no'}, {seconds:.2f} s",
            twice and seconds < 1.0,
        ),
        Outcome(
            "the same: results and metrics.jsonl of the run that went on",
            "as undisturbed",
            f"{_compared(cut, whole)}; {_updates(cut)}",
            (_compared(cut, whole), _updates(cut)) == ("the same", "every update once"),
        ),
    ]


def _undisturbed(folder: Path) -> Path:
    whole = folder / "experiment"
    _once(whole, experiment(whole))
    return whole


def _once(folder: Path, command: list[str]):
    """A run that several trials compare with; its programs are then in the cache for all others."""
    done = folder.with_name(f"{folder.name}.done")
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        finish(command, folder)
        done.touch()


def _compared(folder: Path, whole: Path) -> str:
    """The first thing in which two runs differ that are to be the same; "the same" if there is none."""
    ours, theirs = (_results(of / "results.jsonl") for of in (folder, whole))
    for mine, wanted in zip(ours, theirs, strict=False):
        for key in sorted({*mine, *wanted}):
            if mine.get(key) != wanted.get(key):
                return f"{key} of {wanted['row']} is {mine.get(key)} where it was {wanted.get(key)}"
    if len(ours) != len(theirs):
        return f"{len(ours)} results where there were {len(theirs)}"
    for pattern in ("counts/*.npz", "attention/*.json", "lengths/*.json", "audit/*.json"):
        names = {path.relative_to(of) for of in (folder, whole) for path in of.glob(pattern)}
        for name in sorted(names):
            if not ((folder / name).exists() and (whole / name).exists()):
                return f"{name} is only in one of them"
            if (folder / name).read_bytes() != (whole / name).read_bytes():
                return f"{name} differs"
    losses = [[line | dict.fromkeys(MEASURED_LINES) for line in lines(of / "metrics.jsonl")] for of in (folder, whole)]
    return "the same" if losses[0] == losses[1] else "metrics.jsonl differs"


MEASURED_LINES = ("seconds", "tokens_per_second")
"""Of a line of `metrics.jsonl`."""


def _results(path: Path) -> list[dict[str, Any]]:
    """Lines of results without what is measured and where they come from, their metrics among the other keys."""
    keep = lambda line: {key: value for key, value in line.items() if key not in ("metrics", "provenance")}
    return [
        keep(line) | {key: value for key, value in line["metrics"].items() if key not in MEASURED}
        for line in lines(path)
    ]


def _updates(folder: Path) -> str:
    """Whether `metrics.jsonl` has every update of every cell once, in order; or what it has."""
    found = [(line["row"], line["update"]) for line in lines(folder / "metrics.jsonl")]
    wanted = [(row, update) for row in ROWS for update in range(1, LAST[row] + 1)]
    if found == wanted:
        return "every update once"
    odd = next((pair for pair in zip(found, wanted, strict=False) if pair[0] != pair[1]), "its end is another")
    return f"{len(found)} lines where {len(wanted)} should be: {odd}"


TRIALS: tuple[Callable[[Path], list[Outcome]], ...] = (
    training_killed,
    experiment_killed,
    experiment_preempted,
    experiment_interrupted,
)
