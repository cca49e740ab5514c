"""What the command line does, as functions: a notebook calls `run_experiment`, and needs no flags."""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flaxmask import experiment as experiments
from flaxmask import hosts, lock, stopping
from flaxmask.data.sources import plain
from flaxmask.experiment import EXPERIMENTS
from flaxmask.names import Refused, nearest
from flaxmask.reporting import tracking

if TYPE_CHECKING:
    from flaxmask.reporting.table import Table

SEEDS = 1000
"""The most of a table."""


class Filled(NamedTuple):
    """A run that has come to its end.

    Attributes:
      tables: its tables.
      workdir: where everything lies that it left.
    """

    tables: list["Table"]
    workdir: Path

    def _repr_markdown_(self) -> str:
        """For notebooks."""
        return "\n".join(table.markdown() for table in self.tables)


def prepare(
    name: str,
    scale: str = "quick",
    *,
    seeds: int | None = None,
    rows: Sequence[str] = (),
    workdir: Path | str | None = None,
    parallel: str = "jit",
    overrides: Mapping[str, Any] | None = None,
    track: Sequence[str] = (),
    wait: bool = False,
    distributed: str | None = None,
) -> experiments.Run:
    """A table to be filled. Everything that can be refused is refused here, before jax starts.

    Args:
      name: of the experiment.
      scale: "smoke", "quick" or "paper".
      seeds: how many; None is the scale's own number.
      rows: to fill now; none is all of them.
      workdir: folder of the run; None is `results/NAME`.
      parallel: "jit" or "pmap", over all devices.
      overrides: settings other than the experiment's, by their dotted names.
      track: "tensorboard", "wandb" or both, beside `metrics.jsonl`.
      wait: until no other run holds the folder, instead of being refused then.
      distributed: which of several processes this is, see `hosts.parse`; None is one alone.

    Raises:
      Refused: one line that names what cannot be, and the mend.
    """
    for option, value, choices in (("scale", scale, experiments.SCALES), ("parallel", parallel, ("jit", "pmap"))):
        if value not in choices:
            raise Refused(f"--{option} {value}: {nearest(value, choices)}")
    if seeds is not None and not 1 <= seeds <= SEEDS:
        raise Refused(f"--seeds {seeds}: expected at least 1 and at most {SEEDS:,}")
    experiment = experiments.find(name, EXPERIMENTS)
    configs = experiment.configs(scale, {key: str(value) for key, value in (overrides or {}).items()})
    for row in rows:
        if row not in configs:
            raise Refused(f"--row {row}: {nearest(row, configs)}")
    if parallel == "pmap" and any(config.training.shard_parameters for config in configs.values()):
        raise Refused("training.shard_parameters: pmap gives every device all of them; leave out --parallel pmap")
    tracking.check(track)
    for data in {config.data for config in configs.values() if config.data.path}:
        for split in ("train", data.judged_by):
            plain.check(str(data.path), split)
    place = Path(workdir) if workdir else Path("results") / experiment.name
    count = seeds or experiment.seeds[scale]
    host = None if distributed is None else hosts.parse(distributed)
    return experiments.Run(experiment, scale, count, place, configs, parallel, tuple(rows), tuple(track), wait, host)


def run_experiment(name: str, scale: str = "quick", **how: Any) -> Filled:
    """Fill an experiment's table, from where an earlier run of it stopped.

    Args:
      name: of the experiment.
      scale: "smoke", "quick" or "paper".
      how: see `prepare`.

    Raises:
      Refused: see `prepare`; or the folder holds results of another configuration, or another run fills it now.
    """
    return fill(prepare(name, scale, **how))


def fill(table: experiments.Run, show: Callable[[list["Table"]], Any] = lambda tables: None) -> Filled:
    """The same of a table that is prepared; `show` gets what is filled, whatever ended the run.

    Of several processes the first keeps the folder; the others give no tables back.
    """
    with hosts.met(table.distributed), _kept(table):
        start_jax()
        from flaxmask.cell import run_cell
        from flaxmask.reporting import report, results

        tables = []
        try:
            table.run(run_cell, _now_and_then(table.workdir), _say)
        finally:
            # Whatever stopped the run, what is filled is shown; but a scheduler that asked does not wait for figures.
            if hosts.first() and results.read(table.workdir) and stopping.by() != signal.SIGTERM:
                tables = report.write(table.workdir)
                show(tables)
    return Filled(tables, table.workdir)


@contextlib.contextmanager
def _kept(table: experiments.Run) -> Iterator[None]:
    """The folder of a run, held and claimed by the process that keeps it."""
    if not hosts.first():
        yield
        return
    with lock.held(table.workdir, table.wait, _say):
        table.claim()
        yield


def write_reports(directories: Sequence[Path], out: Path, wait: bool = False) -> list["Table"]:
    """The tables of runs, written into a folder that may be one of theirs.

    The files of a run that goes on are left to it, which writes them anew as it goes: they are not written here then.

    Raises:
      Refused: a folder that holds no run; see also `reporting.report.write_joined`.
    """
    from flaxmask.reporting import report

    found = report.join(directories)
    try:
        with lock.held(out, wait, _say):
            return report.write_joined(directories, out)
    except lock.InUse as error:
        _say(f"{error.said}: its tables as they are now, and no file is written")
        return [table for run in found for table in report.tables(run)]


def _say(text: str):
    print(text, file=sys.stderr, flush=True)


def _now_and_then(workdir: Path, seconds: float = 60.0) -> Callable[[], None]:
    """Writes the report of a run that goes on; not after every cell where these take less than drawing them."""
    from flaxmask.reporting import report

    last = 0.0

    def write():
        nonlocal last
        if time.monotonic() - last > seconds:
            report.write(workdir)
            last = time.monotonic()

    return write


def estimates(table: experiments.Run) -> "Table":
    """What each row will take on this machine, as a table."""
    start_jax()
    from flaxmask.cell import estimate
    from flaxmask.reporting.table import Table

    head = ("row", "parameters", "updates", "shapes", "step's memory (MiB)", "step (ms)", "time a seed (s)")
    rows, total = [], 0.0
    for row, config in table.configs.items():
        if not config.trains:
            continue
        found = estimate(config, table.parallel)
        total += found["seconds"] * table.seeds
        memory = found["peak_memory_bytes"] / 2**20
        shown = (
            found["parameters"],
            found["updates"],
            found["shapes"],
            memory,
            found["step_milliseconds"],
            found["seconds"],
        )
        rows.append((row, *(f"{value:,.0f}" for value in shown)))
    expected = table.experiment.expected.get(table.scale, "nothing is written down")
    notes = (
        f"{table.seeds} seed(s): about {total / 60:.1f} minutes, evaluation not included",
        f"the page expects: {expected}",
    )
    return Table(f"{table.experiment.name} at scale {table.scale}, dry run", head, tuple(rows), notes)


def start_jax():
    """Import jax with programs kept between runs, so that the second start compiles nothing."""
    import jax

    # Orbax writes the tracebacks of its threads there, and raises the errors too: they are said once, in a line.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flaxmask" / "jax"
    jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", str(cache)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
