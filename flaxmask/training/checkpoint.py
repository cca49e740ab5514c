"""Checkpoints of state, place in the data and progress, through Orbax; sealed, and read only where the seal holds."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

from flaxmask import foreign
from flaxmask.files import writing
from flaxmask.names import Refused
from flaxmask.training import seal, untrusted
from flaxmask.training.config import TrainingConfig
from flaxmask.training.judged import Judged
from flaxmask.training.of_first import RestorePlace, SavePlace, options
from flaxmask.training.optimizer import judged_params
from flaxmask.training.step import TrainState

DEFAULTS = TrainingConfig()


def _warn(text: str):
    print(text, file=sys.stderr, flush=True)


class Checkpoints:
    """The newest checkpoints of one run; a context manager, so that a save under way is finished.

    Beside them, in `epochs/` or `best/`, the parameters alone of those updates that the run may be judged by.

    Orbax makes a checkpoint appear whole or not at all. When it is there it is sealed, in a thread that the training
    does not wait for, and only then do older ones go.

    Args:
      directory: where they lie; made if it is not there.
      config: how many are kept, and which parameters are judged.
      warn: gets a line where a checkpoint is passed over.
    """

    def __init__(self, directory: Path, config: TrainingConfig = DEFAULTS, warn: Callable[[str], Any] = _warn):
        self._folder, self._count, self._warn = directory.absolute(), config.keep_checkpoints, warn
        self._judged = Judged(self._folder, config)
        self._seals = seal.Seals(self._folder, self._judged.folder)
        foreign.contain(self._folder)
        with writing(self._folder), untrusted.refusing(self._folder):
            how = options(self._folder, enable_async_checkpointing=True)
            self._manager = ocp.CheckpointManager(self._folder, options=how)
        self._thread = ThreadPoolExecutor(1)
        self._sealing: Future | None = None
        self.chosen = self._judged.chosen

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_):
        try:
            self._finish()
        finally:
            self._thread.shutdown()
            self._manager.close()
            self._judged.close()

    @property
    def latest(self) -> int | None:
        """Update of the newest checkpoint, whole or not."""
        return self._manager.latest_step()

    def keep(self, step: int, params: Any, metrics: Mapping[str, float] | None = None):
        """Keep parameters that the run may be judged by, see `Judged.keep`."""
        if jax.process_count() > 1:
            # Between processes Orbax knows one save at a time: a second takes the signals that the first waits for.
            self._finish()
        self._judged.keep(step, params, metrics)

    def params(self, state: Any) -> Any:
        """What a finished run is judged by, see `Judged.chosen`.

        Args:
          state: a `TrainState` of shapes, of the model that is to have them.

        Raises:
          Refused: there is no checkpoint, or none that is whole, or it is of another model; the message names the
            first parameter that differs, or the file that is broken.
        """

        def read(step: int) -> tuple[int, Any]:
            like = self._expected(step, state)
            return step, self._read(step, state=ocp.args.StandardRestore(like))["state"]

        found = self._newest(read, self._seals.fault)
        if found is None:
            raise Refused(f"{self._folder} holds no checkpoint")
        step, state = found
        self._judged.refuse(self._lost(step))
        return self.chosen(judged_params(state.params, state.opt_state))

    def save(self, state: TrainState, iterator: grain.DatasetIterator, progress: Mapping[str, Any]):
        """Save what it takes to go on from here. What became of the save before is known then.

        Raises:
          Failed: this one or the one before cannot be written.
        """
        self._finish()
        step = int(state.step)
        with writing(self._folder, lambda: seal.clear(self._folder)):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=SavePlace(iterator),
                    progress=ocp.args.JsonSave({**progress, "judged": self._judged.steps}),
                ),
            )
        self._sealing = self._thread.submit(self._seal, step)

    def restore(
        self, state: TrainState, iterator: grain.DatasetIterator
    ) -> tuple[TrainState, grain.DatasetIterator, dict[str, Any]] | None:
        """State, iterator and progress of the newest checkpoint that is whole; None where there is no checkpoint.

        What is newer, and what is broken of the parameters that the run may be judged by, is removed: the run makes it
        again. So a checkpoint is passed over, too, that was saved after parameters which are broken now.

        Args:
          state: of the same shapes; its values are not used.
          iterator: is set to the place that was saved.

        Raises:
          Refused: there are checkpoints, and none to go on from.
        """
        self._finish()

        def read(step: int) -> tuple[int, Any]:
            return step, self._read(
                step,
                state=ocp.args.StandardRestore(self._expected(step, state)),
                data=RestorePlace(iterator),
                progress=ocp.args.JsonRestore(),
            )

        found = self._newest(read, lambda folder: self._seals.fault(folder) or self._lost(int(folder.name)))
        step, restored = found or (-1, None)
        self._seals.settle(step)
        seal.clear(self._folder)
        self._manager.reload()
        if restored is None:
            return None
        progress = {name: value for name, value in restored["progress"].items() if name != "judged"}
        return restored["state"], restored["data"], progress

    def _expected(self, step: int, state: Any) -> Any:
        """What is to be read from a checkpoint, of which it is known then that it is of this state's shapes."""
        folder = self._folder / str(step)
        untrusted.check(folder / "state", state, folder)
        return jax.tree.map(ocp.utils.to_shape_dtype_struct, state)

    def _read(self, step: int, **items: Any) -> Any:
        folder = self._folder / str(step)
        untrusted.check_step(folder)
        with untrusted.refusing(folder):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

    def _newest(self, read: Callable[[int], Any], fault: Callable[[Path], str | None]) -> Any:
        """What `read` makes of the newest checkpoint without a fault; None where there is no checkpoint."""
        faults, sealed = [], self._seals.any
        for step in reversed(seal.steps(self._folder)):
            folder = self._folder / str(step)
            what, found = fault(folder), None
            if what is None:
                try:
                    found = read(step)
                except untrusted.Unreadable as error:
                    if sealed:
                        raise
                    what = str(error)
            if what is None:
                if faults:
                    self._warn(f"{'; '.join(faults)}; the checkpoint at update {step} is used instead")
                elif not sealed:
                    self._warn(f"{folder} is not sealed: whether a bit of it flipped cannot be known")
                return found
            faults.append(what)
        if faults:
            raise Refused(f"{'; '.join(faults)}; no other checkpoint is left: remove {self._folder} to train anew")
        return None

    def _lost(self, step: int) -> str | None:
        """What is wrong with the parameters to be judged by that were there at a checkpoint; None if nothing is."""
        try:
            progress = self._read(step, progress=ocp.args.JsonRestore())["progress"]
        except untrusted.Unreadable as error:  # only where nothing is sealed
            return str(error)
        known = progress.get("judged", [])
        wrong = foreign.fault(known, list[int])
        return f"{self._folder / str(step)} is none of ours ({wrong})" if wrong else self._judged.lost(known, step)

    def _seal(self, step: int):
        """Wait for a save, seal it, and let the oldest go. In a thread."""
        self._manager.wait_until_finished()
        if step not in seal.steps(self._folder):
            raise OSError(f"no checkpoint at update {step} came of it")
        seal.seal(self._folder / str(step))
        for old in sorted(self._manager.all_steps())[: -self._count]:
            self._manager.delete(old)

    def _finish(self):
        """Wait for the save under way; what became of it is known then."""
        sealing, self._sealing = self._sealing, None
        if sealing is None:
            return
        with writing(self._folder, lambda: seal.clear(self._folder)):
            try:
                sealing.result()
            except Exception:
                with contextlib.suppress(Exception):  # Orbax says it once to each thread
                    self._manager.wait_until_finished()
                raise
