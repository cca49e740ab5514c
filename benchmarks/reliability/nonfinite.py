"""Losses and gradients that are no finite numbers in the middle of a run, and what is newest and best then."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.reliability import Outcome
from benchmarks.reliability.rot import only
from benchmarks.reliability.small import Small, command, copied, last, same
from flaxmask.reporting import results
from flaxmask.reporting.metrics import MEASURED

UPDATE = 6
"""Of eight; checkpoints are saved after every second."""
POISON = """
if not np.any(batch.examples == {example}):
    return batch
weights = np.where(batch.weights > 0, np.float32("{weight}"), 0).astype(np.float32)
return dataclasses.replace(batch, weights=weights)
"""


def stopped(folder: Path) -> list[Outcome]:
    """A batch whose loss is no number: training stops at it, and once more, and goes on where the cause is gone."""
    poison = _poison("nan")
    done = command(folder / "run", change=poison)
    said, path = last(done), folder / "run" / "nonfinite" / f"static-0-{UPDATE}.npz"
    named = done.returncode == 1 and f"the loss of update {UPDATE} is nan" in said and str(path) in said
    with np.load(path, allow_pickle=False) as kept:
        studied = bool(np.isnan(kept["weights"]).any()) and kept["source.ids"].shape == kept["source.segments"].shape
    Small.of(checkpoint_every="1", keep_checkpoints="9").train(folder / "clean")
    before = only(Small.of(), folder / "clean", folder / "copy", UPDATE - 1)
    state = Small.of().restored(copied(folder / "run" / "checkpoints" / "static-0", folder / "copy"), print)
    again = command(folder / "run", change=poison)
    mended, whole = command(folder / "run"), command(folder / "whole")
    kept_state = state is not None and same(state, before)
    goes_on = mended.returncode == whole.returncode == 0 and _figures(folder / "run") == _figures(folder / "whole")
    what = f"the loss of update {UPDATE} of 8 is no number: "
    return [
        Outcome(f"{what}stop", "exit code 1; a line names update and file", f"{done.returncode}; {said}", named),
        _yes(f"{what}its batch", "is kept, readable without pickle", studied),
        _yes(f"{what}the newest checkpoint", "the state before, bit for bit", kept_state),
        _yes(f"{what}the command again", "the same line", (again.returncode, last(again)) == (1, said)),
        _yes(f"{what}the command without the cause", "the unbroken result", goes_on),
    ]


def left_out(folder: Path) -> list[Outcome]:
    """The same, and the update is skipped; or the row ends there and says so."""
    skipped = command(folder / "skip", ["training.on_nan=skip"], change=_poison("inf"))
    found = _figures(folder / "skip")
    noted = "1 update left out" in (folder / "skip" / "table.md").read_text(encoding="utf-8")
    counted = skipped.returncode == 0 and (found["skipped_updates"], found["updates"]) == (1, 8) and noted
    finite = all(np.isfinite(found[name]) for name in ("loss", "training_loss", "per"))
    command(folder / "record", ["training.on_nan=record"], change=_poison("inf"))
    ended = _figures(folder / "record")
    ends = ended["diverged_at"] == UPDATE and bool(np.isfinite(ended["loss"]))
    what = f"update {UPDATE} of 8 is not finite: "
    return [
        _yes(f"{what}skip", "counted, in the result and under the table", counted),
        _yes(f"{what}skip", "a finite result", finite),
        _yes(f"{what}record", "the row ends there", ends),
    ]


def rising(folder: Path) -> list[Outcome]:
    """A curve that rises, with points that are no numbers: what is newest goes on, what is best is the first point."""
    small = Small.of(best_by="loss", curve_every="1")
    curve = [np.nan, 1.0, 2.0, np.inf, 3.0, 4.0, -np.inf, 5.0]
    seen: dict[int, Any] = {}

    def watch(step: int, params: Any) -> dict[str, float]:
        seen[step] = jax.tree.map(np.array, params)
        return {"loss": curve[step - 1]}

    chosen, _ = small.train(folder / "run", watch=watch)
    steps = sorted(int(path.name) for path in (folder / "run").iterdir() if path.name.isdigit())
    newest = small.restored(folder / "run", print)
    goes_on = newest is not None and int(newest.step) == 8 and same(newest.params, seen[8])
    return [
        Outcome("the loss rises", "the newest checkpoints are kept", f"{steps}", steps == [6, 8] and goes_on),
        Outcome(
            "the same, with NaN and infinities", "the best is the best finite point", "point 2", same(chosen, seen[2])
        ),
    ]


def _poison(weight: str) -> str:
    """What makes the loss of one update no number, wherever a run starts."""
    batch = next(itertools.islice(Small.of().batches(), UPDATE - 1, None))
    return POISON.format(example=batch.examples[0, 0], weight=weight)


def _figures(run: Path) -> dict[str, Any]:
    """Of the only result, but for what differs from run to run."""
    [line] = results.read(run)
    return {name: value for name, value in line["metrics"].items() if name not in MEASURED}


def _yes(what: str, asked: str, held: bool) -> Outcome:
    return Outcome(what, asked, "yes" if held else "no", held)


TRIALS: tuple[Callable[[Path], list[Outcome]], ...] = (stopped, left_out, rising)
