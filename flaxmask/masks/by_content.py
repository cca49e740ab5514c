"""Masks by content that are known by name: a query's few best keys."""

from typing import Any


def _best(count: int, scores: Any, query: Any, key: Any) -> Any:
    """The keys with the largest scores, `count` of those of the query's segment that stand at or before it.

    Of equal scores all are taken. No key behind the query is looked at, so what is chosen gives nothing away.
    """
    import jax.numpy as jnp

    pair = lambda x, y: (x[:, :, None], y[:, None])
    (segment, other), (position, before) = pair(query.segments, key.segments), pair(query.positions, key.positions)
    own = (segment == other) & (before <= position)
    seen = jnp.where(own[:, None], scores, -jnp.inf)
    least = jnp.sort(seen, axis=-1)[..., -min(count, seen.shape[-1])]
    return own[:, None] & (seen >= least[..., None])


def causal_top_4(scores: Any, query: Any, key: Any) -> Any:
    """See `_best`."""
    return _best(4, scores, query, key)


def causal_top_16(scores: Any, query: Any, key: Any) -> Any:
    """See `_best`."""
    return _best(16, scores, query, key)


KNOWN = (causal_top_4, causal_top_16)
"""By their names, as in `by(causal_top_4)`; keys before the query alone, as in a language model (Gupta et al. 2021)."""
