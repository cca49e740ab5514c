"""Which sequences share a row: packers that know lengths and nothing else."""

from flaxmask.data.packing.histogram import Packing, lpfhp, nnlshp, spfhp
from flaxmask.data.packing.rows import Pieces, assign, concatenate, decreasing, online

__all__ = ["Packing", "Pieces", "assign", "concatenate", "decreasing", "lpfhp", "nnlshp", "online", "spfhp"]
