"""Checkpoints of state, place in the data and progress, through Orbax."""

from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

from flaxmask.training.step import TrainState


class Checkpoints:
    """The newest two checkpoints of one run; a context manager, so that a save under way is finished.

    Args:
      directory: where they lie; made if it is not there.
    """

    def __init__(self, directory: Path):
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_):
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """Update of the newest checkpoint."""
        return self._manager.latest_step()

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
