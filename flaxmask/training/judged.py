"""The parameters that a run may be judged by, kept beside its checkpoints."""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from flaxmask.files import writing
from flaxmask.names import Refused
from flaxmask.training import seal, untrusted
from flaxmask.training.config import TrainingConfig
from flaxmask.training.of_first import options

LESS_IS_BETTER = ("loss", "per", "wer")


class Judged:
    """Parameters of some updates: of the ends of epochs in `epochs/`, or of the best point of the curve in `best/`.

    Args:
      checkpoints: the run's folder.
      config: says which are kept, if any.
    """

    def __init__(self, checkpoints: Path, config: TrainingConfig):
        self._by, self._room = config.best_by, config.average_epochs or 1
        self.folder = checkpoints / ("epochs" if config.average_epochs else "best")
        self.wanted = bool(config.average_epochs or config.best_by)
        self._seals = seal.Seals(checkpoints, self.folder)

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        """Made when it is needed: it reads all that lies there, which may be broken until a run has gone on."""
        # A later checkpoint must not be whole before these are: they are waited for.
        how: dict[str, Any] = {"enable_async_checkpointing": False, "max_to_keep": self._room}
        if by := self._by:
            how |= {"best_fn": lambda metrics: metrics[by], "best_mode": "min" if by in LESS_IS_BETTER else "max"}
        return ocp.CheckpointManager(self.folder, options=options(self.folder, **how))

    @property
    def steps(self) -> list[int]:
        """Updates whose parameters are kept."""
        return seal.steps(self.folder) if self.wanted else []

    @property
    def _judging(self) -> list[int]:
        """Those of them that a run is judged by: one that was killed may not have removed what they replaced."""
        if len(self.steps) <= self._room:
            return self.steps
        whole = [step for step in self.steps if self._seals.fault(self.folder / str(step)) is None]
        if self._by is not None:
            of = {step: self._metrics(step)[self._by] for step in whole}
            whole.sort(key=of.__getitem__, reverse=self._by in LESS_IS_BETTER)
        return whole[-self._room :]

    def _metrics(self, step: int) -> Mapping[str, float]:
        found: Any = self._manager.metrics(step)
        return found

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
        if not self.wanted or (metrics is None) != (self._by is None) or step in self.steps:
            return
        if self._by is not None and metrics is not None and not math.isfinite(metrics[self._by]):
            return
        with writing(self.folder, lambda: seal.clear(self.folder)):
            # By force: an earlier start of the run may have kept those of later updates.
            self._manager.save(step, args=ocp.args.StandardSave(params), metrics=metrics and dict(metrics), force=True)
            if step in self.steps:
                seal.seal(self.folder / str(step))

    def chosen(self, params: Any) -> Any:
        """What the run is judged by: the mean of the parameters that are kept, which lies in a flatter place than each
        (Izmailov et al. 2018), or the best; those given where none are kept.

        Raises:
          Refused: some of them are not as they were saved; the message names the file.
        """
        steps = self._judging
        if not steps:
            return params
        for step in steps:
            self.refuse(self._seals.fault(self.folder / str(step)))
        like = ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, params))
        total = jax.tree.map(lambda x: np.zeros(x.shape, np.float64), params)
        for step in steps:
            place = self.folder / str(step)
            untrusted.check(place / "default", params, self.folder)
            with untrusted.refusing(place):
                saved = self._manager.restore(step, args=like)
            total = jax.tree.map(lambda sum_, x: sum_ + np.asarray(x), total, saved)
        return jax.tree.map(lambda sum_, x: (sum_ / len(steps)).astype(x.dtype), total, params)

    def lost(self, known: Sequence[int], step: int) -> str | None:
        """What is wrong with the parameters that were kept when a checkpoint was saved; None if nothing is.

        What is not there made room for others where all places are taken. Those that were kept after the checkpoint
        count whether they are broken or not: a run that goes on from it makes them again.

        Args:
          known: updates of those that were kept then.
          step: of the checkpoint.
        """
        if not self.wanted:
            return None
        faults = {kept: self._seals.fault(self.folder / str(kept)) for kept in self.steps}
        there = [kept for kept, fault in faults.items() if fault is None or kept > step]
        missing = [kept for kept in known if kept not in there] if len(there) < self._room else []
        return next((faults.get(kept) or f"{self.folder / str(kept)} is missing" for kept in missing), None)

    @staticmethod
    def refuse(fault: str | None):
        """Refuse to judge a run by less than it is to be judged by."""
        if fault is not None:
            raise Refused(
                f"{fault}; the run is judged by it: give the experiment's command again (for a finished row, without "
                f"its line in results.jsonl), which makes it anew from an earlier checkpoint, if one is left"
            )

    def close(self):
        """Nothing more will come."""
        if "_manager" in self.__dict__:
            self._manager.close()
