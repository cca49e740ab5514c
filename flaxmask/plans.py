"""What packers make of lists of lengths, as the metrics of a row: no model, no training."""

import time
from collections.abc import Callable

import numpy as np

from flaxmask.data.config import DataConfig, PackingConfig
from flaxmask.data.layouts import by_histogram, longest_sides, pack
from flaxmask.data.sources.length_histograms import length_histograms
from flaxmask.data.tasks import Task
from flaxmask.names import Refused

_HISTOGRAMS = {"wikipedia": "wikipedia_512", "squad": "squad_1_1_384"}


def pack_lengths(config: PackingConfig, data: DataConfig, load: Callable[[DataConfig], Task]) -> dict[str, float]:
    """Rows, efficiency in percent, and sequences a row, beside the most that any packer could reach.

    Args:
      config: which lengths, how long a row, which packer.
      data: of the lengths "data"; an example is as long as its longer side.
      load: gives its task.
    """
    name = str(config.lengths)
    if name not in _HISTOGRAMS:
        data = data if name == "data" else DataConfig(name=name, train_examples=config.examples)
        examples = load(data).train
        lengths = examples.lengths.max(axis=1)
        counts = np.bincount(lengths)[1:]
        capacity = config.capacity or max(longest_sides(data, examples.lengths))
    else:
        counts = length_histograms()[_HISTOGRAMS[name]]
        lengths = None
        capacity = config.capacity or len(counts)
    if capacity < len(counts):
        raise Refused(f"packing.capacity={capacity}: the longest sequence takes {len(counts)} slots")
    tokens, sequences = int(counts @ np.arange(1, len(counts) + 1)), int(counts.sum())
    start = time.perf_counter()
    if config.packer in ("spfhp", "lpfhp", "nnlshp"):
        rows = by_histogram(counts, capacity, config.packer, config.depth).count
    elif lengths is None:
        raise Refused(f"packing.packer={config.packer} packs sequences; a histogram takes spfhp, lpfhp or nnlshp")
    else:
        sides = np.stack([lengths, np.zeros_like(lengths)], axis=1)
        [packed] = pack([np.arange(len(lengths))], sides, (capacity, 0), config.packer, depth=config.depth)
        rows = packed.count
    return {
        "packing_rows": rows,
        "packing_efficiency": 100.0 * tokens / (rows * capacity),
        "packing_factor": sequences / rows,
        "packing_limit": sequences * capacity / tokens,
        "packing_seconds": time.perf_counter() - start,
    }
