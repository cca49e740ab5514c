"""The training loop: updates, their measure, and a checkpoint now and then."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from flaxmask import foreign, hosts
from flaxmask.names import Refused
from flaxmask.stopping import Stopped
from flaxmask.tokens import Batch
from flaxmask.training import mishap
from flaxmask.training.checkpoint import Checkpoints
from flaxmask.training.optimizer import judged_params
from flaxmask.training.step import CompiledStep, TrainState

NORMS, SPIKE = 32, 2.0
"""Updates whose gradients tell what is usual, and how many times their median norm a spike is."""


@dataclasses.dataclass
class Progress:
    """What a run has done so far. Saved with each checkpoint, so that a resumed run counts on.

    Attributes:
      steps: updates done.
      real_tokens: source and target tokens seen, end marks included.
      slots: source and target slots computed, padding included.
      seconds: of training: data, updates and their waiting; without compiling and saving.
      compile_count: programs compiled.
      compile_seconds: spent on compiling.
      compile_cached: programs that came from jax's persistent cache.
      devices: how many took part; the plan depends on it.
      plan: a hash of all that decides which examples come when.
      peak_memory_bytes: of the largest compiled update.
      flops: of all updates, see `CompiledStep`.
      loss: of the last update, nats a target token.
      diverged_at: the update whose loss or gradients were no finite numbers, and the last one; None where there was
        none.
      skipped: updates that were left out for the same reason.
      norms: of the gradients of the last `NORMS` updates.
      spikes: updates whose gradients had more than `SPIKE` times the median norm of the `NORMS` before.
      since: updates since the last point of the curve.
      since_loss: the sum of their losses.
      curve: the learning curve: updates, mean training loss since the last point, and what `watch` gave.
    """

    steps: int = 0
    real_tokens: int = 0
    slots: int = 0
    seconds: float = 0.0
    compile_count: int = 0
    compile_seconds: float = 0.0
    compile_cached: int = 0
    devices: int = 1
    plan: str = ""
    peak_memory_bytes: int = 0
    flops: float = 0.0
    loss: float = float("nan")
    diverged_at: int | None = None
    skipped: int = 0
    norms: list[float] = dataclasses.field(default_factory=list)
    spikes: int = 0
    since: int = 0
    since_loss: float = 0.0
    curve: list[dict[str, int | float]] = dataclasses.field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        """Real tokens a second."""
        return self.real_tokens / self.seconds if self.seconds else 0.0

    def add_norm(self, norm: float):
        """Count a spike, where it is one."""
        self.spikes += len(self.norms) == NORMS and norm > SPIKE * statistics.median(self.norms)
        self.norms = [*self.norms, norm][-NORMS:]


def train(
    state: TrainState,
    iterator: Any,
    step: CompiledStep,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int = 0,
    report: Callable[[Progress], None] = lambda progress: None,
    plan: str = "",
    watch: Callable[[Any], dict[str, float]] | None = None,
    watch_every: int | None = None,
    on_nan: Literal["stop", "skip", "record"] = "stop",
    keep_at: Collection[int] = (),
    aside: Path | None = None,
    stop: Callable[[int], bool] = lambda update: False,
    counted: Callable[[int], tuple[int, int]] | None = None,
) -> tuple[TrainState, Progress]:
    """Run the iterator to its end, from the newest checkpoint where there is one.

    Args:
      state: before the first update.
      iterator: of `Batch`es; a Grain iterator where checkpoints are kept.
      step: the compiled update.
      checkpoints: None keeps none. Of several processes the first keeps them, and reads them for all.
      checkpoint_every: updates between two checkpoints, 0 saves the end alone, which is always saved.
      report: called after every update.
      plan: of the iterator; a checkpoint of another one is refused.
      watch: judges the parameters for a point of the curve.
      watch_every: updates between two points; None draws no curve.
      on_nan: what to do at a loss or a gradient that is no finite number, see `TrainingConfig`.
      keep_at: updates after which the parameters are kept beside the checkpoints.
      aside: where the batch of such an update is kept: beside this name, with the update's number.
      stop: asked after every update whether to stop there.
      counted: real tokens and slots of a batch by its number, where the iterator gives a process's rows of it alone.

    Returns:
      The last state, as one copy, and the progress.

    Raises:
      FloatingPointError: a loss or a gradient that is no finite number; the message names the update, and the file
        with its batch. The state before it is the newest checkpoint.
      Failed: a batch has no room in memory, or a checkpoint none on the disk.
      Stopped: `stop` said so, or `watch` was broken off; a checkpoint was saved first.
    """
    state, saved = _resumed(state, iterator, checkpoints)
    progress = _progress(saved, len(step.devices), plan)
    if progress.diverged_at is not None:
        return state, progress
    placed = step.place(state)
    clock = _Clock(step, progress)

    def take_part():
        """Where each process has a part of the state, one that keeps it fetches those of all."""
        if step.together:
            step.fetch(placed)

    def save():
        if checkpoints is not None and checkpoints.latest != progress.steps:
            checkpoints.save(step.fetch(placed), iterator, dataclasses.asdict(progress))
            clock.skip()
        else:
            take_part()

    def stopped() -> Stopped:
        save()
        return Stopped(f"update {progress.steps} is saved")

    def settle():
        """What an update owes beside itself: a point of the curve, and parameters that the run may be judged by."""
        drawn = progress.curve[-1]["updates"] if progress.curve else 0
        if watch is not None and watch_every and progress.steps % watch_every == 0 and drawn < progress.steps:
            now = step.fetch(placed)
            params = judged_params(now.params, now.opt_state)
            try:
                judged = watch(params)
            except Stopped:
                raise stopped() from None
            _add_point(progress, judged)
            if checkpoints is not None:
                checkpoints.keep(progress.steps, params, judged)
            clock.skip()
        if progress.steps in keep_at:
            if checkpoints is not None:
                checkpoints.keep(progress.steps, step.fetch(placed).params)
                clock.skip()
            else:
                take_part()

    def go_back():
        """Save the state before an update that was left out, unless it is the newest checkpoint."""
        if checkpoints is not None and checkpoints.latest != progress.steps > 0:
            before = step.fetch(placed)
            iterator.set_state(place)
            before = before._replace(step=before.step - 1)
            checkpoints.save(before, iterator, dataclasses.asdict(progress))
        else:
            take_part()

    settle()  # of the update at which a run was stopped
    place, skipped = None if checkpoints is None else iterator.get_state(), 0
    for batch in iterator:
        with mishap.fits(batch):
            placed, metrics = step(placed, batch)
            # Waiting for each loss costs nothing on one device, keeps the clock honest and stops at a bad number.
            found = jax.device_get(metrics)
        skipped = 0 if found["finite"] else skipped + 1
        if skipped:
            said = _set_aside(found, batch, progress.steps + 1, aside)
            if on_nan == "stop" or skipped > mishap.SKIPPED:
                go_back()
                raise FloatingPointError(said)
        place = None if checkpoints is None else iterator.get_state()
        progress.steps += 1
        real, slots = counted_in(batch) if counted is None else counted(progress.steps - 1)
        progress.real_tokens += real
        progress.slots += slots
        clock.tick()
        if not skipped:
            progress.loss = float(found["loss"])
            progress.add_norm(float(found["gradient_norm"]))
            report(progress)
        elif on_nan == "record":
            progress.loss, progress.diverged_at = float(found["loss"]), progress.steps
            break
        else:
            progress.skipped += 1
        if watch is not None and watch_every is not None:
            progress.since += not skipped
            progress.since_loss += 0.0 if skipped else progress.loss
        if stop(progress.steps):
            raise stopped()
        settle()
        if checkpoint_every and progress.steps % checkpoint_every == 0:
            save()
    save()
    return step.fetch(placed), progress


def _resumed(
    state: TrainState, iterator: Any, checkpoints: Checkpoints | None
) -> tuple[TrainState, dict[str, Any] | None]:
    """State and progress of the newest checkpoint, with the iterator at its place; where there is none, the state as
    it is, and None.
    """

    def read() -> dict[str, Any] | None:
        nonlocal state
        restored = None if checkpoints is None else checkpoints.restore(state, iterator)
        if restored is None:
            return None
        state, _, progress = restored
        return {"progress": progress, "place": iterator.get_state() if hosts.here().count > 1 else None}

    found = hosts.here().at_first(read, shared=True)
    state = hosts.here().from_first(state)
    if found is not None and not hosts.first():
        iterator.set_state(found["place"])
    return state, found and found["progress"]


def _progress(saved: dict[str, Any] | None, devices: int, plan: str) -> Progress:
    """Of a checkpoint, or of a run that begins.

    Raises:
      Refused: the checkpoint is of another plan, or none of ours.
    """
    if saved is None:
        return Progress(devices=devices, plan=plan)
    update = saved.get("steps", 0)
    if wrong := foreign.fault(saved, Progress):
        raise Refused(f"the checkpoint at update {update!r} is none of ours ({wrong}): remove it")
    if saved.get("devices", 0) != devices:
        raise Refused(
            f"the checkpoint at update {update} is of {saved.get('devices', 0)} device(s), here are {devices}: another "
            f"plan, which would repeat examples; use as many, or another folder"
        )
    if saved.get("plan", "") != plan:
        raise Refused(
            f"the checkpoint at update {update} belongs to other data or another plan of it, which would lose or "
            f"repeat examples: bring back the data as it was, or use another folder"
        )
    return Progress(**saved)


def _set_aside(found: dict[str, Any], batch: Batch, update: int, aside: Path | None) -> str:
    """Keep the batch of an update that is left out; what is to be said of it."""
    said = mishap.what(found, update)
    if aside is None:
        return said
    path = aside.with_name(f"{aside.name}-{update}.npz")
    mishap.set_aside(batch, path)
    return f"{said}; its batch is in {path}"


def _add_point(progress: Progress, judged: dict[str, float]):
    """A point of the curve; its training loss is the mean since the last one."""
    point = {
        "updates": progress.steps,
        "real_tokens": progress.real_tokens,
        "training_loss": progress.since_loss / progress.since if progress.since else math.nan,
        "seconds": progress.seconds,
    }
    progress.curve.append(point | judged)
    progress.since, progress.since_loss = 0, 0.0


def counted_in(batch: Batch) -> tuple[int, int]:
    """A batch's real tokens and slots."""
    sides = [side.segments for side in (batch.source, batch.target) if side is not None]
    return sum(int(np.count_nonzero(side)) for side in sides), sum(side.size for side in sides)


class _Clock:
    """Adds the seconds since the last tick to a progress, less those spent on compiling."""

    def __init__(self, step: CompiledStep, progress: Progress):
        self._step, self._progress = step, progress
        self._before = (progress.compile_count, progress.compile_seconds, progress.compile_cached, progress.flops)
        self._compiled = step.compile_seconds
        self._last = time.perf_counter()

    def tick(self):
        now, compiled = time.perf_counter(), self._step.compile_seconds
        self._progress.seconds += now - self._last - (compiled - self._compiled)
        self._last, self._compiled = now, compiled
        self._progress.compile_count = self._before[0] + self._step.compile_count
        self._progress.compile_seconds = self._before[1] + self._step.compile_seconds
        self._progress.compile_cached = self._before[2] + self._step.compile_cached
        self._progress.flops = self._before[3] + self._step.flops
        memory = max(self._progress.peak_memory_bytes, self._step.peak_memory_bytes)
        self._progress.peak_memory_bytes = memory

    def skip(self):
        """Leave out what happened since the last tick."""
        self._last = time.perf_counter()
