"""Masks by content that are known by name: a query's few best keys."""

from typing import Any


def _best(count: int, scores: Any, query: Any, key: Any) -> Any:
    """The keys with the largest scores, `count` of those of the query's segment that stand at or before it.

    Of equal scores all are taken, and count as one. No key behind the query is looked at, so what is chosen gives
    nothing away.
    """
    import jax
    import jax.numpy as jnp

    pair = lambda x, y: (x[:, :, None], y[:, None])
    (segment, other), (position, before) = pair(query.segments, key.segments), pair(query.positions, key.positions)
    own = (segment == other) & (before <= position)
    seen = jax.lax.stop_gradient(jnp.where(own[:, None], scores, -jnp.inf))
    # The largest below the last, so many times: CPUs take some twenty times as long to sort.
    below = lambda _, least: jnp.max(jnp.where(seen < least, seen, -jnp.inf), axis=-1, keepdims=True)
    least = jax.lax.fori_loop(1, count, below, jnp.max(seen, axis=-1, keepdims=True))
    return own[:, None] & (seen >= least)


def causal_top_4(scores: Any, query: Any, key: Any) -> Any:
    """See `_best`."""
    return _best(4, scores, query, key)


def causal_top_16(scores: Any, query: Any, key: Any) -> Any:
    """See `_best`."""
    return _best(16, scores, query, key)


KNOWN = (causal_top_4, causal_top_16)
"""By their names, as in `by(causal_top_4)`; keys before the query alone, as in a language model (Gupta et al. 2021)."""
