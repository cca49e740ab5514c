"""Two processes that train together: as one would, killed, stopped, and gone on with as another number of them."""

import contextlib
import json
import random
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.reliability import Outcome
from benchmarks.reliability.processes import LONGEST, Running, experiment, finish, grows, lines, running, subject
from flaxmask.hosts import HEARTBEAT, LOST
from flaxmask.reporting.metrics import MEASURED
from flaxmask.stopping import EXIT_CODES

UPDATES = 160
"""Of a run that is disturbed, so many that it does not end before."""
SHORT = 40
"""Of one that is not."""
SECONDS = HEARTBEAT + 5.0
"""Within which a process ends when another has died."""
CLOSE = 1e-5
"""Nats between the losses of two runs that are to be the same."""


def as_one(folder: Path) -> list[Outcome]:
    """Two processes with a device each, and one with two devices: the losses of all updates."""
    outcomes = []
    for parallel, dropout in (("jit", 0.1), ("sharded", 0.1), ("pmap", 0.0)):
        two, one = folder / f"{parallel}-two", folder / f"{parallel}-one"
        _finish_two(two, SHORT, parallel, str(dropout))
        finish([*subject(one, SHORT, 2), parallel, str(dropout)], one)
        losses = [[line["loss"] for line in lines(path / "metrics.jsonl")] for path in (two, one)]
        tokens = [[line["real_tokens"] for line in lines(path / "metrics.jsonl")] for path in (two, one)]
        apart = max(abs(left - right) for left, right in zip(*losses, strict=True))
        same = "the same hashes" if _final(two) == _final(one) else "other hashes"
        outcomes.append(
            Outcome(
                f"two processes under {parallel}, dropout {dropout}, and one with two devices",
                f"losses within {CLOSE:g}, as many tokens",
                f"{apart:.1g} apart at most in {len(losses[0])} updates; {same} of all that was computed",
                apart <= CLOSE and tokens[0] == tokens[1] and len(losses[0]) >= SHORT,
            )
        )
    return outcomes


def killed(folder: Path, kills: int = 8) -> list[Outcome]:
    """SIGKILL of one of two processes at random moments; then both are started again."""
    whole, cut = folder / "two", folder / "two_killed"
    _finish_two(whole, UPDATES)
    rng, seconds, said, codes = random.Random(0), [], [], []
    for number in range(kills):
        going = grows(cut / "metrics.jsonl")
        with _two(cut, UPDATES) as pair:
            _under_way(pair, going)
            time.sleep(rng.uniform(0.0, 0.3))
            victim = number % 2
            pair[victim].send(signal.SIGKILL)
            began = time.monotonic()
            codes.append(pair[1 - victim].process.wait(LONGEST))
            seconds.append(time.monotonic() - began)
            said.append(f"process {victim} of 2 is gone" in pair[1 - victim].said.rstrip().split("\n")[-1])
    _finish_two(cut, UPDATES)
    same = _final(cut) == _final(whole) and _losses(cut) == _losses(whole)
    return [
        Outcome(
            f"SIGKILL of one of two processes at random moments ({kills} times): the other",
            f"ends within {SECONDS:.0f} s, not with 0, and names the one that is gone",
            f"{sum(said)}/{kills} name it, exit codes {sorted({*codes})}, {max(seconds):.1f} s at most",
            all(said) and {*codes} == {LOST} and max(seconds) <= SECONDS,
        ),
        Outcome(
            "both started again each time",
            "as undisturbed: parameters, optimiser, losses",
            f"after {kills} kills {'identical' if same else 'not identical'}",
            same,
        ),
    ]


def asked(folder: Path, times: int = 5) -> list[Outcome]:
    """SIGTERM to one of two processes or to both; then both are started again."""
    whole, cut = folder / "two", folder / "two_asked"
    if not (whole / "final.json").exists():
        _finish_two(whole, UPDATES)
    rng, codes, saved = random.Random(1), [], 0
    for number in range(times):
        going = grows(cut / "metrics.jsonl")
        with _two(cut, UPDATES) as pair:
            _under_way(pair, going)
            time.sleep(rng.uniform(0.0, 0.3))
            for index in ((0,), (1,), (0, 1))[number % 3]:
                pair[index].process.send_signal(signal.SIGTERM)
            codes += [run.process.wait(LONGEST) for run in pair]
        last = lines(cut / "metrics.jsonl")[-1]["update"]
        saved += (cut / "checkpoints" / "row-0" / str(last)).is_dir()
    _finish_two(cut, UPDATES)
    same = _final(cut) == _final(whole) and _losses(cut) == _losses(whole)
    wanted = EXIT_CODES[signal.SIGTERM]
    return [
        Outcome(
            f"SIGTERM to one of two processes, or to both ({times} times)",
            f"both end with {wanted} behind the same update, which is saved; gone on with, as undisturbed",
            f"{codes.count(wanted)}/{2 * times} end so (codes {sorted({*codes})}), {saved}/{times} saved their last "
            f"update; {'identical' if same else 'not identical'}",
            {*codes} == {wanted} and saved == times and same,
        )
    ]


def regrouped(folder: Path) -> list[Outcome]:
    """A run of two processes that goes on as one with as many devices, the other way round, and with one device."""
    whole, ends = folder / "one", []
    finish(subject(whole, UPDATES, 2), whole)
    for name, first, second in (("together", _two, _one), ("apart", _one, _two)):
        cut = folder / name
        going = grows(cut / "metrics.jsonl")
        with first(cut, UPDATES) as group:
            _under_way(group, going)
            group[0].process.send_signal(signal.SIGTERM)
            ends += [run.process.wait(LONGEST) for run in group]
        if name == "together":
            with running(subject(cut, UPDATES, 1), folder / "fewer") as run:
                refused, said = run.process.wait(LONGEST), run.said
        with second(cut, UPDATES) as group:
            ends += [run.process.wait(LONGEST) for run in group]
    same = [_final(folder / name) == _final(whole) for name in ("together", "apart")]
    return [
        Outcome(
            "a run of 2 processes with a device each goes on as 1 with 2, and the other way round",
            "as undisturbed",
            f"{sum(same)}/2 identical",
            all(same) and {*ends} == {0, EXIT_CODES[signal.SIGTERM]},
        ),
        Outcome(
            "the same run goes on with 1 device",
            "refused, with both numbers",
            (re.findall(r"is of \d device\(s\), here are \d", said) or ["not refused"])[0],
            refused != 0 and "is of 2 device(s), here are 1" in said,
        ),
    ]


def table(folder: Path) -> list[Outcome]:
    """`run.py --distributed`: a table of two rows by two processes, the second asked to stop while the first evaluates;
    and by one process with two devices.
    """
    two, one = folder / "table-two", folder / "table-one"
    codes, out = [], []
    for stop in (True, False):
        pair = [_distributed(two, place) for place in _places()]
        with pair[0] as first, pair[1] as second:
            if stop:
                first.until(lambda: (two / "lengths").exists())
                second.process.send_signal(signal.SIGTERM)
            codes += [run.process.wait(LONGEST) for run in (first, second)]
            out.append(second.out.read_text(encoding="utf-8"))
    finish(experiment(one), one, {"JAX_NUM_CPU_DEVICES": "2"})
    results = [[_computed(line) for line in lines(path / "results.jsonl")] for path in (two, one)]
    stopped = EXIT_CODES[signal.SIGTERM]
    return [
        Outcome(
            "a table filled by two processes, stopped and gone on with; and by one with two devices",
            f"exit codes {stopped}, {stopped}, 0, 0; the second says nothing on stdout; the same results",
            f"exit codes {', '.join(map(str, codes))}; {len(''.join(out))} characters; "
            f"{len(results[0])} rows, {'the same' if results[0] == results[1] else 'not the same'}",
            codes == [stopped, stopped, 0, 0] and not any(out) and results[0] == results[1] and len(results[0]) == 2,
        )
    ]


TRIALS: tuple[Callable[[Path], list[Outcome]], ...] = (as_one, killed, asked, regrouped, table)


def _places() -> list[str]:
    """Of two processes, at a port that is free now."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return [f"localhost:{free.getsockname()[1]},2,{index}" for index in range(2)]


@contextlib.contextmanager
def _two(folder: Path, updates: int, *how: str) -> Iterator[list[Running]]:
    """The tiny training run by two processes with a device each."""
    first, second = ([*subject(folder, updates), *(how or ("jit", "0.1")), place] for place in _places())
    beside = [folder.with_name(f"{folder.name}-{index}") for index in range(2)]
    with running(first, beside[0]) as left, running(second, beside[1]) as right:
        yield [left, right]


@contextlib.contextmanager
def _one(folder: Path, updates: int) -> Iterator[list[Running]]:
    """The same by one process with two devices."""
    with running(subject(folder, updates, 2), folder) as run:
        yield [run]


def _finish_two(folder: Path, updates: int, *how: str):
    with _two(folder, updates, *how) as pair:
        codes = [run.process.wait(LONGEST) for run in pair]
        if any(codes):
            raise RuntimeError(f"{folder} ended with {codes}: {pair[0].said[-2000:]} {pair[1].said[-2000:]}")


def _distributed(folder: Path, place: str) -> contextlib.AbstractContextManager[Running]:
    command = [*experiment(folder), "--distributed", place]
    return running(command, folder.with_name(f"{folder.name}-{place[-1]}"), {"JAX_NUM_CPU_DEVICES": "1"})


def _under_way(group: list[Running], going: Callable[[], bool]):
    """Wait until a run writes lines."""
    if not group[0].until(going):
        raise RuntimeError(f"{group[0].process.args} ended before it was disturbed: {group[0].said[-2000:]}")


def _final(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "final.json").read_text(encoding="utf-8"))


def _losses(folder: Path) -> list[float]:
    return [line["loss"] for line in lines(folder / "metrics.jsonl")]


def _computed(line: dict[str, Any]) -> dict[str, Any]:
    metrics = {name: value for name, value in line["metrics"].items() if name not in MEASURED}
    return {"row": line["row"], "seed": line["seed"], "metrics": metrics, "samples": line.get("samples")}
