"""The command line: list experiments, run one, show reports, put a trained model to work.

python run.py --list
python run.py --experiment padding --scale quick training.learning_rate=1e-3
"""

import argparse
import ctypes
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flaxmask import commands, foreign, hosts, stopping
from flaxmask import experiment as experiments
from flaxmask.commands import EXPERIMENTS
from flaxmask.names import Failed, Refused

if TYPE_CHECKING:
    from flaxmask.reporting.table import Table

LISTED, WIDEST = 6, 20
"""Rows of an experiment that `--list` names, and unknown symbols of a line; characters of a symbol that are shown."""
ACTIONS = {
    "list": (),
    "experiment": (
        *("scale", "seeds", "row", "workdir", "parallel", "dry_run", "audit", "track", "wait", "distributed"),
        "overrides",
    ),
    "report": ("workdir", "wait"),
    "translate": ("nbest", "scores", "overrides"),
    "export": (),
}
"""What can be done, and the options that each of it takes."""
MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=8589934592"


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit code."""
    try:
        options, overrides = parse(arguments)
        if options.list:
            return show_list()
        if options.report:
            return show_reports(options.report, options.workdir, options.wait)
        if options.translate:
            return translate(options, overrides)
        if options.export:
            return export(*options.export)
        return run(options, overrides)
    except Refused as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"run.py: {error}; the checkpoint before it is kept", file=sys.stderr)
        return 1
    except stopping.Stopped as stopped:
        kept = f": {stopped}" if str(stopped) else ""
        by = stopping.name_of(stopped.by)
        print(f"run.py: stopped by {by}{kept}; the same command goes on from there", file=sys.stderr)
        return stopped.exit_code
    except Failed as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str):
        raise Refused(f"{message} (see --help)")


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Options, and overrides `key.path=value`."""
    parser = Parser(description="Ablation tables about attention masks.", allow_abbrev=False)
    parser.add_argument("--list", action="store_true", help="name the experiments")
    parser.add_argument("--experiment", metavar="NAME", help="fill the table of this experiment")
    parser.add_argument("--scale", default="quick", help="smoke (seconds), quick (minutes; the default) or paper")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N-1; the default is the scale's own number")
    parser.add_argument("--row", action="append", metavar="ROW", help="fill this row now (may be repeated)")
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="folder of the run; results/NAME by default")
    parser.add_argument("--parallel", default="jit", help="jit (the default) or pmap, over all devices")
    parser.add_argument(
        "--distributed",
        metavar="PLACE",
        help="which of several processes this is: auto (Slurm, TPU pods) or HOST:PORT,COUNT,INDEX, the HOST of INDEX 0",
    )
    parser.add_argument("--wait", action="store_true", help="until no other run holds the folder; else it is refused")
    parser.add_argument("--dry-run", action="store_true", help="parameters, memory, updates and time, without a run")
    parser.add_argument("--audit", action="store_true", help="print what the audit found of every row")
    parser.add_argument("--track", action="append", metavar="KIND", help="tensorboard or wandb, beside metrics.jsonl")
    parser.add_argument(
        "--report",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="write and show the tables of these runs, of several in one report",
    )
    parser.add_argument("--translate", type=Path, metavar="CHECKPOINT", help="answer each line of stdin on stdout")
    parser.add_argument(
        "--export",
        type=Path,
        nargs=2,
        metavar=("CHECKPOINT", "DIR"),
        help="write a Transformer in CTranslate2's format",
    )
    parser.add_argument("--nbest", type=int, default=1, metavar="N", help="the best N answers to each line")
    parser.add_argument("--scores", action="store_true", help="put the score and a tab before each answer")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="settings other than the experiment's")
    options = parser.parse_intermixed_args(arguments)
    for text in options.overrides:
        if "=" not in text:
            raise Refused(f"{text!r}: expected an override such as training.epochs=2")
    keys = [text.split("=", 1)[0] for text in options.overrides]
    for key in keys:
        if keys.count(key) > 1:
            raise Refused(f"{key} is given {keys.count(key)} times")
    _refuse_contradictions(parser, options)
    return options, dict(text.split("=", 1) for text in options.overrides)


def _refuse_contradictions(parser: Parser, options: argparse.Namespace):
    """Refuse two things to do at a time, and what would be set and change nothing."""
    asked = [name for name in ACTIONS if getattr(options, name) not in (None, False)]
    if not asked:
        raise Refused("nothing to do: name one with --experiment NAME, or see --list and --help")
    if len(asked) > 1:
        raise Refused(f"--{asked[0]} and --{asked[1]}: one at a time")
    for name, value in vars(options).items():
        if name in ACTIONS or name in ACTIONS[asked[0]] or value == parser.get_default(name) or value == []:
            continue
        shown = options.overrides[0] if name == "overrides" else f"--{name.replace('_', '-')}"
        owners = " and ".join(f"--{action}" for action, takes in ACTIONS.items() if name in takes)
        raise Refused(f"{shown}: is for {owners}, not for --{asked[0]}")


def show_list() -> int:
    """One experiment a paragraph."""
    for name in experiments.names_in(EXPERIMENTS):
        try:
            page = experiments.find(name, EXPERIMENTS)
        except Refused as error:  # one page of somebody's own does not hide the others
            print(f"{name}: {error}")
            continue
        print(f"{name}: {page.title}")
        if page.parts:
            print("\n".join(f"    table of {len(part.rows)} rows: {part.title}" for part in page.parts))
        else:
            few, more = list(page.rows)[:LISTED], len(page.rows) - LISTED
            print(f"    rows: {'; '.join(few)}{f'; and {more} more' if more > 0 else ''}")
        for scale in page.scales:
            print(
                f"    {scale}: {page.seeds[scale]} seed(s); {page.expected.get(scale, 'no expectation written down')}"
            )
    return 0


def show_reports(directories: list[Path], joined: Path | None = None, wait: bool = False) -> int:
    """Write every report anew and print its tables; of several runs also one report of all."""
    tables = [table for directory in directories for table in commands.write_reports([directory], directory, wait)]
    said = ""
    if len(directories) > 1:
        out = joined or Path("results") / "report"
        tables, said = commands.write_reports(directories, out, wait), f"report: {out / 'report.html'}\n"
    show(tables)
    print(said, end="")
    return 0


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Fill a table."""
    table = commands.prepare(
        options.experiment,
        options.scale,
        seeds=options.seeds,
        rows=options.row or (),
        workdir=options.workdir,
        parallel=options.parallel,
        overrides=overrides,
        track=options.track or (),
        wait=options.wait,
        distributed=options.distributed,
    )
    if options.dry_run and options.distributed:
        raise Refused("--dry-run measures one process: leave --distributed out")
    if options.dry_run:
        show([commands.estimates(table)])
        return 0
    if options.distributed:
        python_alone_on_stdout()
    with stopping.listening():
        commands.fill(table, show)
    if not hosts.first():
        return 0
    if options.audit:
        print("\n".join(table.audits()))
    print(f"report: {table.workdir / 'report.html'}")
    return 0


def python_alone_on_stdout():
    """Collectives on CPU greet on stdout, from C++; that goes to stderr."""
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
    os.dup2(2, 1)


def show(tables: "list[Table]"):
    """In the terminal."""
    from rich.console import Console

    console = Console()
    for table in tables:
        console.print(table.rich(console.width))


def translate(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Answer each line of stdin on stdout, in order; an empty line by an empty line."""
    from flaxmask.overrides import apply

    how = experiments.Config(decoding=experiments.cell_of(options.translate)[-1].decoding)
    for key in overrides:
        if "." in key and not key.startswith("decoding."):
            raise Refused(f"{key}: of a trained model decoding.* alone can be set")
    decoding = apply(how, {f"decoding.{k.removeprefix('decoding.')}": v for k, v in overrides.items()}).decoding
    if not 1 <= options.nbest <= decoding.beams:
        raise Refused(f"--nbest {options.nbest}: expected 1 to decoding.beams={decoding.beams}; set that too")
    texts = list(read_lines())
    commands.start_jax()
    from rich.console import Console
    from rich.progress import Progress

    from flaxmask.translate import Translator

    translator = Translator.load(options.translate)
    for line in translator.cut(texts):
        print(f"run.py: line {line} is longer than {translator.longest} tokens: cut", file=sys.stderr)
    for line, symbols in translator.unknown(texts).items():
        shown = ", ".join(repr(symbol[:WIDEST]) for symbol in symbols[:LISTED])
        more = f" and {len(symbols) - LISTED:,} more" if len(symbols) > LISTED else ""
        print(f"run.py: line {line}: the model does not know {shown}{more}", file=sys.stderr)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("lines", total=len(texts))
        show = lambda done: bar.update(task, completed=done)
        answers = translator.translate(texts, decoding, options.nbest, show)
    for answer in answers:
        for text, score in answer:
            print(f"{score:.4f}\t{text}" if options.scores else text)
    return 0


def read_lines() -> Iterator[str]:
    """Of stdin, which is UTF-8 whatever the terminal's encoding."""
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise Refused(f"stdin, line {number}: not readable (character {error.start + 1} is no UTF-8)") from None
        yield line.rstrip("\n")


def export(checkpoint: Path, directory: Path) -> int:
    """Write a trained Transformer for CTranslate2."""
    experiments.cell_of(checkpoint)
    foreign.check_new(directory)
    commands.start_jax()
    from flaxmask.export import to_ctranslate2
    from flaxmask.translate import Translator

    to_ctranslate2(Translator.load(checkpoint), directory)
    print(f"written: {directory}")
    return 0


def keep_memory():
    """Start again with an allocator that keeps its pages, where that is glibc's.

    A step on CPU asks for its temporaries anew each time; faulting their pages in took a third of the step.
    """
    if (
        sys.platform != "linux"
        or "GLIBC_TUNABLES" in os.environ
        or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    ):
        return
    os.environ["GLIBC_TUNABLES"] = MALLOC
    os.execv(sys.executable, sys.orig_argv)


def say_failures_once():
    """Where a save fails, the run says so; what TensorStore's other writes of it say after that is left out."""

    def hook(unraisable: "sys.UnraisableHookArgs"):
        if str(unraisable.exc_value) != "Event loop is closed":
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = hook
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    say_failures_once()
    if not {"--list", "--help", "-h"} & set(sys.argv):
        keep_memory()
    elif hasattr(signal, "SIGPIPE"):  # a reader such as `head` may leave before the end
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
