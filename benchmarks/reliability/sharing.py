"""Two runs in one folder: one fills it, the other is refused or waits, and a report of it only looks."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability import Outcome
from benchmarks.reliability.processes import ROOT, ROWS, count, environment, experiment, lines, running


def one_at_a_time(folder: Path) -> list[Outcome]:
    """A run that is refused, one that waits, a report, and one that takes over from a killed one."""
    shared, waiting = folder / "shared", folder / "waiting"
    results = shared / "results.jsonl"
    with running(experiment(shared), shared) as first:
        first.until(lambda: count(results) == 1)
        refused = _end(folder, *experiment(shared))
        with running(experiment(shared, "--wait"), waiting) as second:
            second.until(lambda: "waiting for" in second.said)
            first.process.send_signal(signal.SIGSTOP)  # so that what is written now the report has written
            before = _files(shared)
            report = _end(folder, sys.executable, "run.py", "--report", str(shared))
            untouched = _files(shared) == before
            first.send(signal.SIGKILL)
            code, said = second.process.wait(), second.said
    pid = f"process {first.process.pid} on "
    one_line = refused.returncode == 2 and refused.stderr.count("\n") == 1 and pid in refused.stderr
    over = code == 0 and f"taken over from {pid}" in said
    filled = [line["row"] for line in lines(results)]
    looks = report.returncode == 0 and pid in report.stderr and ROWS[0] in report.stdout and untouched
    yes = lambda held: "yes" if held else "no"
    return [
        Outcome("a second run in a folder: refused in one line that names the first", "yes", yes(one_line), one_line),
        Outcome(
            "one that was told to wait, when the first is killed: takes over, and fills what is open",
            ", ".join(ROWS),
            f"{', '.join(filled)}; code {code}",
            over and filled == list(ROWS),
        ),
        Outcome("--report of a folder in use: shows its tables, and writes no file", "yes", yes(looks), looks),
    ]


def _end(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = environment(folder / "programs")
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def _files(folder: Path) -> dict[str, int]:
    """When the files of a report were written."""
    return {name: path.stat().st_mtime_ns for name in FILES if (path := folder / name).exists()}


FILES = ("table.md", "table.tex", "table.csv", "report.html")
TRIALS: tuple[Callable[[Path], list[Outcome]], ...] = (one_at_a_time,)
