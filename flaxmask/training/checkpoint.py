"""Checkpoints of state, place in the data and progress, through Orbax."""

from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from flaxmask.names import Refused
from flaxmask.training.step import TrainState


class Checkpoints:
    """The newest two checkpoints of one run; a context manager, so that a save under way is finished.

    Beside them, in `epochs/`, the parameters alone of as many updates as are asked for.

    Args:
      directory: where they lie; made if it is not there.
      epochs: how many of the newest parameters are kept.
    """

    def __init__(self, directory: Path, epochs: int = 0):
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)
        self._epochs = None
        if epochs:
            # A later checkpoint must not be whole before these are: they are waited for.
            waiting = ocp.CheckpointManagerOptions(max_to_keep=epochs, enable_async_checkpointing=False)
            self._epochs = ocp.CheckpointManager(directory.absolute() / "epochs", options=waiting)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_):
        self._manager.wait_until_finished()
        self._manager.close()
        if self._epochs is not None:
            self._epochs.close()

    def keep(self, step: int, params: Any):
        """Keep the parameters of an update, unless they are kept already: a resumed run comes by again."""
        if self._epochs is not None and step not in self._epochs.all_steps():
            self._epochs.save(step, args=ocp.args.StandardSave(params))

    def mean(self, params: Any) -> Any:
        """The mean of the parameters that are kept, which lies in a flatter place than each (Izmailov et al. 2018).

        Args:
          params: of the same shapes; returned where none are kept.
        """
        steps = [] if self._epochs is None else self._epochs.all_steps()
        if self._epochs is None or not steps:
            return params
        like = ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, params))
        total = jax.tree.map(lambda x: np.zeros(x.shape, np.float64), params)
        for step in steps:
            total = jax.tree.map(lambda sum_, x: sum_ + np.asarray(x), total, self._epochs.restore(step, args=like))
        return jax.tree.map(lambda sum_, x: (sum_ / len(steps)).astype(x.dtype), total, params)

    @property
    def latest(self) -> int | None:
        """Update of the newest checkpoint."""
        return self._manager.latest_step()

    def params(self, state: Any) -> Any:
        """What a finished run is judged by: the mean of the parameters that are kept, or the newest.

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
        return self.mean(self._manager.restore(self.latest, args=args)["state"].params)

    def save(self, state: TrainState, iterator: grain.DatasetIterator, progress: dict[str, Any]):
        """Save what it takes to go on from here."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=grain.checkpoint.CheckpointSave(iterator),
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
                data=grain.checkpoint.CheckpointRestore(iterator),
                progress=ocp.args.JsonRestore(),
            ),
        )
        return restored["state"], restored["data"], restored["progress"]


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
