"""Scores made flat, so that no weight underflows to 0 and hides an edge."""

from typing import Any

import jax


def flat_scores(params: Any, by: float = 0.1) -> Any:
    """Linen parameters with everything under the names `query` and `key` multiplied by `by`.

    A trained softmax may be so sharp that a weight which should not be there is 0 all the same: audit the flat model
    too. What is declared is as true of it as of the trained one.
    """

    def scale(path, leaf):
        names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
        return leaf * by if names & {"query", "key"} else leaf

    return jax.tree_util.tree_map_with_path(scale, params)
