"""Checkpoints of state, place in the data and progress, through Orbax."""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from flaxmask.names import Refused
from flaxmask.training.config import TrainingConfig
from flaxmask.training.of_first import RestorePlace, SavePlace, options
from flaxmask.training.optimizer import judged_params
from flaxmask.training.step import TrainState

DEFAULTS = TrainingConfig()


LESS_IS_BETTER = ("loss", "per", "wer")


class Checkpoints:
    """The newest checkpoints of one run; a context manager, so that a save under way is finished.

    Beside them, in `epochs/` or `best/`, the parameters alone of those updates that the run may be judged by.

    Args:
      directory: where they lie; made if it is not there.
      config: how many are kept, and which parameters are judged.
    """

    def __init__(self, directory: Path, config: TrainingConfig = DEFAULTS):
        how = options(directory.absolute(), max_to_keep=config.keep_checkpoints, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=how)
        self._by, self._averaged = config.best_by, config.average_epochs
        # A later checkpoint must not be whole before these are: they are waited for.
        waiting = functools.partial(options, enable_async_checkpointing=False)
        self._kept = None
        if config.average_epochs:
            folder = directory.absolute() / "epochs"
            self._kept = ocp.CheckpointManager(folder, options=waiting(folder, max_to_keep=config.average_epochs))
        elif by := config.best_by:
            mode = "min" if by in LESS_IS_BETTER else "max"
            folder = directory.absolute() / "best"
            best = waiting(folder, max_to_keep=1, best_fn=lambda metrics: metrics[by], best_mode=mode)
            self._kept = ocp.CheckpointManager(folder, options=best)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_):
        self._manager.wait_until_finished()
        self._manager.close()
        if self._kept is not None:
            self._kept.close()

    def keep(self, step: int, params: Any, metrics: Mapping[str, float] | None = None):
        """Keep the parameters of an update, unless they are kept already: a resumed run comes by again.

        Args:
          step: updates done.
          params: after them.
          metrics: of a point of the curve; None at the end of an epoch. A run that is judged by its best point keeps
            nothing of the others, and the other way round.
        """
        if self._kept is None or (metrics is None) != (self._by is None) or step in self._kept.all_steps():
            return
        if self._by is not None and metrics is not None and not math.isfinite(metrics[self._by]):
            return
        self._kept.save(step, args=ocp.args.StandardSave(params), metrics=metrics and dict(metrics))

    def chosen(self, params: Any) -> Any:
        """What the run is judged by: the mean of the parameters that are kept, which lies in a flatter place than each
        (Izmailov et al. 2018), or the best; those given where none are kept.
        """
        steps = self._judged()
        if self._kept is None or not steps:
            return params
        like = ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, params))
        total = jax.tree.map(lambda x: np.zeros(x.shape, np.float64), params)
        for step in steps:
            total = jax.tree.map(lambda sum_, x: sum_ + np.asarray(x), total, self._kept.restore(step, args=like))
        return jax.tree.map(lambda sum_, x: (sum_ / len(steps)).astype(x.dtype), total, params)

    def _judged(self) -> list[int]:
        """Updates whose parameters are judged. A run that was killed may not have removed those that they replaced."""
        if self._kept is None or not self._kept.all_steps():
            return []
        if self._averaged is not None:
            return sorted(self._kept.all_steps())[-self._averaged :]
        return [step for step in [self._kept.best_step()] if step is not None]

    @property
    def latest(self) -> int | None:
        """Update of the newest checkpoint."""
        return self._manager.latest_step()

    def params(self, state: Any) -> Any:
        """What a finished run is judged by, see `chosen`.

        Args:
          state: a `TrainState` of shapes, of the model that is to have them.

        Raises:
          Refused: there is no checkpoint, or it is of another model; the message names the first parameter that
            differs.
        """
        if self.latest is None:
            raise Refused(f"{self._manager.directory} holds no checkpoint")
        with ocp.StandardCheckpointer() as reader:
            saved: Any = reader.metadata(self._manager.directory / str(self.latest) / "state")
            found = getattr(saved, "item_metadata", saved)["params"]
        shapes = lambda tree: {jax.tree_util.keystr(path): tuple(x.shape) for path, x in _leaves(tree)}
        have, want = shapes(found), shapes(state.params)
        for name in sorted({*have, *want}):
            if have.get(name) != want.get(name):
                raise Refused(
                    f"{self._manager.directory} is of another model: {name} is {have.get(name, 'missing')} there, "
                    f"{want.get(name, 'missing')} in the configuration"
                )
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(like))
        state = self._manager.restore(self.latest, args=args)["state"]
        return self.chosen(judged_params(state.params, state.opt_state))

    def save(self, state: TrainState, iterator: grain.DatasetIterator, progress: dict[str, Any]):
        """Save what it takes to go on from here."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=SavePlace(iterator),
                progress=ocp.args.JsonSave(progress),
            ),
        )

    def restore(
        self, state: TrainState, iterator: grain.DatasetIterator
    ) -> tuple[TrainState, grain.DatasetIterator, dict[str, Any]]:
        """State, iterator and progress of the newest checkpoint.

        Args:
          state: of the same shapes; its values are not used.
          iterator: is set to the place that was saved.
        """
        restored = self._manager.restore(
            self.latest,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, state)),
                data=RestorePlace(iterator),
                progress=ocp.args.JsonRestore(),
            ),
        )
        return restored["state"], restored["data"], restored["progress"]


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
