"""Batches that have no room in memory."""

from pathlib import Path

from benchmarks.reliability import Outcome
from benchmarks.reliability.small import command, last
from flaxmask.reporting import results

HUGE = """
wide = lambda x: np.pad(x, ((0, 6000 - x.shape[0]), (0, 4000 - x.shape[1])))
return jax.tree.map(wide, batch)
"""
"""Scores of 768 GB."""


def out_of_memory(folder: Path) -> list[Outcome]:
    """A row whose batches are absurdly large, behind one that is finished."""
    finished = command(folder / "run", row="dynamic")
    kept = (folder / "run" / results.FILE).read_bytes()
    done = command(folder / "run", change=HUGE)
    said = last(done)
    held = done.returncode == 1 and "6000 rows × 4000 source and 4000 target tokens" in said
    held = held and "data.batch_examples" in said and "Traceback" not in done.stderr
    intact = finished.returncode == 0 and (folder / "run" / results.FILE).read_bytes() == kept
    return [
        Outcome("a batch has no room in memory", "exit code 1; a line names shape and settings", said, held),
        Outcome("the same", "finished cells are as they were", "yes" if intact else "no", intact),
    ]


TRIALS = (out_of_memory,)
