"""Scores made flat, so that no weight underflows to 0 and hides an edge."""

from typing import Any

import jax


def flat_scores(params: Any, by: float = 0.1) -> Any:
    """Linen parameters with everything under the names `query` and `key` multiplied by `by`.

    A trained softmax may be so sharp that a weight which should not be there is 0 all the same: audit the flat model
    too. What is declared is as true of it as of the trained one.

    Raises:
      ValueError: nothing has such a name.
    """
    touched = []

    def scale(path, leaf):
        names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
        if not names & {"query", "key"}:
            return leaf
        touched.append(path)
        return leaf * by

    flat = jax.tree_util.tree_map_with_path(scale, params)
    if not touched:
        raise ValueError("params: expected parameters under names `query` or `key`, found none: nothing was made flat")
    return flat
