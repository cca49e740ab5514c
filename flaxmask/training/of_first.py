"""Orbax where one of several processes keeps the checkpoints, and nobody waits for the others."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

FILE = "process_0-of-1.json"
"""Grain's own name for the place of an iterator, where one process has it."""


def options(folder: Path, **how: Any) -> ocp.CheckpointManagerOptions:
    """Of a manager of this process alone; its folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    if jax.process_count() > 1:
        alone = ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}, barrier_sync_key_prefix=folder.name
        )
        how |= {"create": False, "multiprocessing_options": alone}
    return ocp.CheckpointManagerOptions(**how)


class PlaceHandler(ocp.CheckpointHandler):
    """As Grain's, but that the place has one name however many processes there are: it is the same in all of them."""

    def save(self, directory: Any, item: Any = None, args: Any = None):
        """Write the iterator's state."""
        (directory / FILE).write_text(json.dumps((item or args.item).get_state(), indent=4))

    def restore(self, directory: Any, item: Any = None, args: Any = None) -> Any:
        """Set the iterator to the state that was written."""
        iterator = item or args.item
        iterator.set_state(json.loads((directory / FILE).read_text()))
        return iterator


@ocp.args.register_with_handler(PlaceHandler, for_save=True)
@dataclasses.dataclass
class SavePlace(ocp.args.CheckpointArgs):
    """Of an iterator."""

    item: grain.DatasetIterator


@ocp.args.register_with_handler(PlaceHandler, for_restore=True)
@dataclasses.dataclass
class RestorePlace(ocp.args.CheckpointArgs):
    """Of an iterator."""

    item: grain.DatasetIterator
