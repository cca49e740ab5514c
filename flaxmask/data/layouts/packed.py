"""Several examples a row."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from flaxmask.data import packing
from flaxmask.data.config import PackerName
from flaxmask.data.layouts.placement import Placement, Shape, shuffler, updates
from flaxmask.data.layouts.shapes import round_up
from flaxmask.data.packing import Pieces
from flaxmask.names import Refused


@dataclasses.dataclass(frozen=True)
class Packed:
    """Rows filled by a packer.

    Attributes:
      examples: of an update, where each update's own are packed.
      shape: of an update of whole rows; its rows count where a pool is packed.
      granularity: each update's own rows are rounded up to a multiple of it, so that few shapes occur.
      pool: how many examples are packed together; None packs each update's own.
      packer: see `DataConfig.packer`.
      depth: most examples of a row; None sets no bound.
      buffer: rows that an online packer holds open.
    """

    examples: int
    shape: Shape
    granularity: int
    pool: int | None = None
    packer: PackerName = "best_fit"
    depth: int | None = None
    buffer: int = 64
    name = "packed"

    @property
    def steady(self) -> bool:
        """Rows of a pool depend on which examples are in it."""
        return self.pool is None

    def place(self, order: np.ndarray, lengths: np.ndarray) -> list[Placement]:
        """Each update's own examples, packed; or rows of a pool, dealt to updates."""
        if self.pool is None:
            packed = self._pack(updates(order, self.examples), lengths)
            return [Placement(p, self.shape._replace(rows=round_up(p.count, self.granularity))) for p in packed]
        shuffle = shuffler(order)
        pools = self._pack(updates(order, self.pool), lengths)
        rows = Pieces.join([pieces.take(shuffle.permutation(pieces.count)) for pieces in pools])
        return [Placement(rows.take(part), self.shape) for part in updates(np.arange(rows.count), self.shape.rows)]

    def _pack(self, groups: Sequence[np.ndarray], lengths: np.ndarray) -> list[Pieces]:
        capacity = self.shape.source, self.shape.target
        return pack(groups, lengths, capacity, self.packer, depth=self.depth, buffer=self.buffer)


def pack(
    groups: Sequence[np.ndarray],
    lengths: np.ndarray,
    capacity: tuple[int, int],
    packer: PackerName,
    *,
    depth: int | None = None,
    buffer: int = 64,
) -> list[Pieces]:
    """Each group's examples packed into rows of `capacity` slots, source and target.

    Args:
      groups: ids of the examples that are packed together, int `[N]` each.
      lengths: int `[examples, 2]`; 0 on a side that is absent.
      capacity: slots of a row, source and target.
      packer: its name in the configuration.
      depth: most examples of a row; None sets no bound.
      buffer: rows that an online packer holds open.

    Raises:
      Refused: the packer cannot do it.
    """
    one_sided = not min(capacity)
    if packer == "concatenate":
        if not one_sided or depth:
            raise Refused("data.packer=concatenate cuts examples: it has no depth, and is for tasks of one side only")
        return [packing.concatenate(ids, lengths.sum(axis=1), max(capacity)) for ids in groups]
    fit = "first" if "first" in packer else "best"
    if packer == "best_fit" and one_sided:
        packer = "lpfhp"  # the same rows, by the histogram: the cost does not grow with the square of a group
    if packer in ("best_fit", "first_fit"):
        return packing.decreasing(groups, lengths, capacity, fit, depth)
    if packer in ("online_best_fit", "online_first_fit"):
        return [Pieces.of(list(packing.online(ids, lengths, capacity, fit, buffer, depth))) for ids in groups]
    # Histograms have one side: the larger share of a row that an example takes, so that both sides hold.
    slots = max(capacity)
    scaled = [-(-lengths[:, side] * slots // room) for side, room in enumerate(capacity) if room]
    single = np.max(scaled, axis=0)
    plans = [by_histogram(np.bincount(single[ids])[1:], slots, packer, depth) for ids in groups]
    return [packing.assign(plan, ids, single) for plan, ids in zip(plans, groups, strict=True)]


def by_histogram(counts: np.ndarray, capacity: int, packer: PackerName, depth: int | None) -> packing.Packing:
    """How many rows of which lengths; arguments are those of `packing.spfhp`."""
    if packer == "nnlshp":
        if depth not in (None, 1, 2, 3):
            raise Refused(f"nnlshp of depth {depth}: its ways to fill a row are too many; expected at most 3")
        return packing.nnlshp(counts, capacity, depth or 3)
    if packer not in ("spfhp", "lpfhp"):
        raise Refused(f"{packer} packs sequences, not their histogram: expected spfhp, lpfhp or nnlshp")
    return (packing.spfhp if packer == "spfhp" else packing.lpfhp)(counts, capacity, depth)
