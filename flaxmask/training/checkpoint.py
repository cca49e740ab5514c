"""Checkpoints of state, place in the data and progress, through Orbax; sealed, and read only where the seal holds."""

import contextlib
import functools
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from flaxmask.files import no_room, unwritten
from flaxmask.names import Failed, Refused
from flaxmask.training import seal
from flaxmask.training.config import TrainingConfig
from flaxmask.training.optimizer import judged_params
from flaxmask.training.step import TrainState

DEFAULTS = TrainingConfig()


LESS_IS_BETTER = ("loss", "per", "wer")

HALF = "*.orbax-checkpoint-tmp*"
"""What a save that did not come to its end leaves."""


def _warn(text: str):
    print(text, file=sys.stderr, flush=True)


class Checkpoints:
    """The newest checkpoints of one run; a context manager, so that a save under way is finished.

    Beside them, in `epochs/` or `best/`, the parameters alone of those updates that the run may be judged by.

    Orbax makes a checkpoint appear whole or not at all. When it is there it is sealed, in a thread that the training
    does not wait for, and only then do older ones go. Where anything of a run is sealed, nothing else is trusted.

    Args:
      directory: where they lie; made if it is not there.
      config: how many are kept, and which parameters are judged.
      warn: gets a line where a checkpoint is passed over.
    """

    def __init__(self, directory: Path, config: TrainingConfig = DEFAULTS, warn: Callable[[str], Any] = _warn):
        self._folder, self._config, self._warn = directory.absolute(), config, warn
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=True)
        with _named(self._folder):
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        self._thread, self._sealing = ThreadPoolExecutor(1), None

    @property
    def _beside(self) -> Path | None:
        """Where the parameters lie that the run may be judged by; None where these are its last ones."""
        name = "epochs" if self._config.average_epochs else "best" if self._config.best_by else None
        return name and self._folder / name

    @functools.cached_property
    def _kept(self) -> ocp.CheckpointManager:
        """Of `_beside`; made when it is needed, since it reads all that lies there.

        A later checkpoint must not be whole before these are: they are waited for.
        """
        options = functools.partial(ocp.CheckpointManagerOptions, enable_async_checkpointing=False)
        if by := self._config.best_by:
            mode = "min" if by in LESS_IS_BETTER else "max"
            options = functools.partial(options, best_fn=lambda metrics: metrics[by], best_mode=mode)
        return ocp.CheckpointManager(self._beside, options=options(max_to_keep=self._room))

    @property
    def _room(self) -> int:
        """How many sets of parameters are kept at most."""
        return self._config.average_epochs or 1

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_):
        try:
            self._finish()
        finally:
            self._manager.close()
            self._thread.shutdown()
            if "_kept" in self.__dict__:
                self._kept.close()

    def keep(self, step: int, params: Any, metrics: Mapping[str, float] | None = None):
        """Keep the parameters of an update, unless they are kept already: a resumed run comes by again.

        Args:
          step: updates done.
          params: after them.
          metrics: of a point of the curve; None at the end of an epoch. A run that is judged by its best point keeps
            nothing of the others, and the other way round.

        Raises:
          Failed: they cannot be written.
        """
        by = self._config.best_by
        if self._beside is None or (metrics is None) != (by is None) or step in self._kept.all_steps():
            return
        if by is not None and metrics is not None and not math.isfinite(metrics[by]):
            return
        with _named(self._beside):
            # By force: what an earlier start of the run kept of later updates may be there already.
            self._kept.save(step, args=ocp.args.StandardSave(params), metrics=metrics and dict(metrics), force=True)
            if step in self._kept.all_steps():
                seal.seal(self._beside / str(step))

    def chosen(self, params: Any) -> Any:
        """What the run is judged by: the mean of the parameters that are kept, which lies in a flatter place than each
        (Izmailov et al. 2018), or the best; those given where none are kept.

        Raises:
          Refused: some of them are not as they were saved; the message names the file.
        """
        if self._beside is None or not (steps := _steps(self._beside)):
            return params
        for step in steps:
            if what := self._fault(self._beside / str(step)):
                raise Refused(self._judged_by(what))
        like = ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, params))
        total = jax.tree.map(lambda x: np.zeros(x.shape, np.float64), params)
        for step in steps:
            total = jax.tree.map(lambda sum_, x: sum_ + np.asarray(x), total, self._kept.restore(step, args=like))
        return jax.tree.map(lambda sum_, x: (sum_ / len(steps)).astype(x.dtype), total, params)

    @property
    def latest(self) -> int | None:
        """Update of the newest checkpoint, whole or not."""
        return self._manager.latest_step()

    def params(self, state: Any) -> Any:
        """What a finished run is judged by, see `chosen`.

        Args:
          state: a `TrainState` of shapes, of the model that is to have them.

        Raises:
          Refused: there is no checkpoint, or none that is whole, or it is of another model; the message names the
            first parameter that differs, or the file that is broken.
        """

        def read(step: int) -> tuple[int, Any]:
            with ocp.StandardCheckpointer() as reader:
                saved: Any = reader.metadata(self._folder / str(step) / "state")
                found = getattr(saved, "item_metadata", saved)["params"]
            _refuse_another_model(self._folder, found, state.params)
            like = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
            args = ocp.args.Composite(state=ocp.args.StandardRestore(like))
            return step, self._manager.restore(step, args=args)["state"]

        found = self._newest(read, self._fault)
        if found is None:
            raise Refused(f"{self._folder} holds no checkpoint")
        step, state = found
        if lost := self._lost(step):
            raise Refused(self._judged_by(lost))
        return self.chosen(judged_params(state.params, state.opt_state))

    def save(self, state: TrainState, iterator: grain.DatasetIterator, progress: dict[str, Any]):
        """Save what it takes to go on from here. What became of the save before is known then.

        Raises:
          Failed: this one or the one before cannot be written.
        """
        self._finish()
        step = int(state.step)
        kept = _steps(self._beside) if self._beside else []
        with _named(self._folder, self._clear):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=grain.checkpoint.CheckpointSave(iterator),
                    progress=ocp.args.JsonSave(progress | {"kept": kept}),
                ),
            )
        self._sealing = self._thread.submit(self._seal, step)

    def restore(
        self, state: TrainState, iterator: grain.DatasetIterator
    ) -> tuple[TrainState, grain.DatasetIterator, dict[str, Any]] | None:
        """State, iterator and progress of the newest checkpoint that is whole; None where there is no checkpoint.

        Whatever is newer and cannot be trusted is removed: the run comes by there again. So is what is broken of the
        parameters that it may be judged by; a checkpoint that had seen these whole is passed over too.

        Args:
          state: of the same shapes; its values are not used.
          iterator: is set to the place that was saved.

        Raises:
          Refused: there are checkpoints, and none is whole.
        """
        self._finish()

        def read(step: int) -> tuple[int, Any]:
            return step, self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, state)),
                    data=grain.checkpoint.CheckpointRestore(iterator),
                    progress=ocp.args.JsonRestore(),
                ),
            )

        found = self._newest(read, lambda folder: self._fault(folder) or self._lost(int(folder.name)))
        step, restored = found or (-1, None)
        self._remove_untrusted(step)
        if restored is None:
            return None
        progress = dict(restored["progress"])
        progress.pop("kept", None)
        return restored["state"], restored["data"], progress

    def _newest(self, read: Callable[[int], Any], fault: Callable[[Path], str | None]) -> Any:
        """What `read` makes of the newest checkpoint without a fault; None where there is no checkpoint."""
        faults, sealed = [], self._is_sealed
        for step in reversed(_steps(self._folder)):
            what = fault(self._folder / str(step))
            if what is None:
                try:
                    found = read(step)
                except Exception as error:
                    if sealed or isinstance(error, Refused):
                        raise
                    what = f"{self._folder / str(step)} is not readable ({_line(error)})"
                else:
                    if faults:
                        self._warn(f"{'; '.join(faults)}: the checkpoint at update {step} is used instead")
                    elif not sealed:
                        self._warn(f"{self._folder / str(step)} is not sealed: whether a bit flipped cannot be known")
                    return found
            faults.append(what)
        if faults:
            raise Refused(f"{'; '.join(faults)}: no other checkpoint is left; remove {self._folder} to train anew")
        return None

    @property
    def _is_sealed(self) -> bool:
        """Whether anything of the run is: an older version sealed nothing."""
        return any(seal.is_sealed(folder) for folder in self._folders())

    def _folders(self) -> Iterator[Path]:
        for place in filter(None, (self._folder, self._beside)):
            yield from (place / str(step) for step in _steps(place))

    def _fault(self, folder: Path) -> str | None:
        """Why what lies in a folder cannot be trusted; None if it can."""
        if not seal.is_sealed(folder):
            return f"{folder} is not sealed" if self._is_sealed else None
        what = seal.fault(folder)
        return what and f"{folder} is broken: {what}"

    def _lost(self, step: int) -> str | None:
        """What is wrong with the parameters that were kept when a checkpoint was saved; None if nothing is.

        One that is not there made room for another where all places are taken.
        """
        if self._beside is None:
            return None
        said = self._manager.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))["progress"]
        there = _steps(self._beside)
        faults = {kept: self._fault(self._beside / str(kept)) for kept in there}
        whole = [kept for kept in there if faults[kept] is None]
        for kept in said.get("kept", []):
            if kept not in whole and len(whole) < self._room:
                return faults.get(kept) or f"{self._beside / str(kept)} is missing"
        return None

    def _judged_by(self, lost: str) -> str:
        return (
            f"{lost}; the run is judged by it: give the experiment's command again without its line in the results, "
            f"which makes it anew from an earlier checkpoint; or remove {self._folder} to train anew"
        )

    def _remove_untrusted(self, step: int):
        """All that a run which goes on from a checkpoint will make again; and seals for what had none."""
        sealed = self._is_sealed
        for folder in self._folders():
            newer = folder.parent == self._folder and int(folder.name) > step
            if newer or (sealed and self._fault(folder)):
                shutil.rmtree(folder)
            elif not sealed:
                seal.seal(folder)
        for place in filter(None, (self._folder, self._beside)):
            for empty in (path for path in place.glob("[0-9]*") if path.is_dir() and not any(path.iterdir())):
                empty.rmdir()
        self._clear()
        self._manager.reload()

    def _clear(self):
        """Remove what saves left that did not come to their end."""
        for path in self._folder.rglob(HALF):
            shutil.rmtree(path, ignore_errors=True)

    def _seal(self, step: int):
        """Wait for a save, seal it, and let the oldest go. In a thread."""
        self._manager.wait_until_finished()
        folder = self._folder / str(step)
        if not folder.is_dir():
            raise OSError(f"Orbax did not finish the checkpoint at update {step}")
        seal.seal(folder)
        for old in sorted(self._manager.all_steps())[: -self._config.keep_checkpoints]:
            self._manager.delete(old)

    def _finish(self):
        """Wait for the save under way; what became of it is known then."""
        sealing: Future | None = self._sealing
        self._sealing = None
        if sealing is None:
            return
        with _named(self._folder, self._clear):
            try:
                sealing.result()
            except Exception:
                with contextlib.suppress(Exception):  # Orbax says it once to each thread
                    self._manager.wait_until_finished()
                raise


@contextlib.contextmanager
def _named(folder: Path, clear: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Says what cannot be written, and how much room is left there."""
    try:
        yield
    except Failed:
        raise
    except Exception as error:
        if not (isinstance(error, OSError) or no_room(error)):  # tensorstore's are ValueErrors
            raise
        said = unwritten(error, folder)
        clear()
        raise said from error


def _steps(folder: Path) -> list[int]:
    """Updates of the checkpoints in a folder; an empty folder is none."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.isdigit() and path.is_dir() and any(path.iterdir())]
    return sorted(int(path.name) for path in found)


def _refuse_another_model(folder: Path, found: Any, wanted: Any):
    """Refuse parameters of other names or shapes."""
    shapes = lambda tree: {jax.tree_util.keystr(path): tuple(x.shape) for path, x in _leaves(tree)}
    have, want = shapes(found), shapes(wanted)
    for name in sorted({*have, *want}):
        if have.get(name) != want.get(name):
            raise Refused(
                f"{folder} is of another model: {name} is {have.get(name, 'missing')} there, "
                f"{want.get(name, 'missing')} in the configuration"
            )


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0][:200]


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
