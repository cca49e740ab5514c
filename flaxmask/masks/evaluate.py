"""Formulas to boolean arrays, with the mask builders of `flax.linen`."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from flaxmask.masks.formula import And, By, Full, Mask, Not, Or, Padding, Prefix, Segment
from flaxmask.masks.positions import Causal, PositionMask
from flaxmask.tokens import EMPTY, Array, Tokens


def evaluate(
    mask: Mask, query: Tokens, key: Tokens, scores: Float[Array, "B N Q K"] | None = None
) -> Bool[Array, "B #N Q K"]:
    """True where `query` may attend to `key` under `mask`.

    Args:
      mask: the formula.
      query: `[B, Q]`.
      key: `[B, K]`.
      scores: what a mask by content (`by`) reads; the result then has as many heads as its function gives.

    Raises:
      ValueError: query and key have different batch sizes, or scores are needed and not given.
      TypeError: `mask` is not a formula.
    """
    if not isinstance(mask, Mask):
        raise TypeError(f"mask: expected a formula such as masks.causal & masks.segment, got {type(mask).__name__}")
    if query.shape[0] != key.shape[0]:
        raise ValueError(f"query and key: expected one batch size, got {query.shape[0]} and {key.shape[0]}")
    visible = _evaluate(mask, query, key, scores)
    if key.layout == "any":  # only there can a slot be empty
        visible = _pairs(jnp.ones_like(query.segments), key.segments, lambda _, k: k != EMPTY) & visible
    return visible


def _pairs(query: Array, key: Array, function: Callable) -> Bool[Array, "B 1 Q K"]:
    return nn.make_attention_mask(query, key, function, dtype=bool)


def _evaluate(mask: Mask, query: Tokens, key: Tokens, scores: Array | None) -> Bool[Array, "B #N Q K"]:
    """One formula, without the law of empty slots (which `~` would turn round)."""
    match mask:
        case Full():
            return _pairs(query.positions, key.positions, lambda q, k: jnp.ones_like(q + k, bool))
        case Padding():
            return _pairs(query.segments, key.segments, lambda q, k: jnp.ones_like(q, bool) & (k > 0))
        case Segment():
            return _pairs(query.segments, key.segments, lambda q, k: (q == k) & (q > 0))
        case Prefix():
            prefix = jnp.zeros(key.shape, bool) if key.prefix is None else key.prefix
            return _pairs(jnp.ones(query.shape, bool), prefix, jnp.logical_and)
        case PositionMask():
            cells = jnp.greater_equal if isinstance(mask, Causal) else mask.cells
            return _pairs(jnp.asarray(query.positions), jnp.asarray(key.positions), cells)
        case By(function):
            if scores is None:
                raise ValueError(f"{mask}: a mask by content needs scores, which are not known here")
            visible = function(scores, query, key)
            heads = (1, scores.shape[1])
            if visible.dtype != bool or visible.shape not in [(len(scores), n, *scores.shape[2:]) for n in heads]:
                wanted = f"bool{[len(scores), '1 or N', *scores.shape[2:]]}"
                raise ValueError(f"{mask}: expected {wanted}, got {visible.dtype}{list(visible.shape)}")
            return visible
        case Not(term):
            return ~_evaluate(term, query, key, scores)
        case And(terms):
            joined: Any = nn.combine_masks(*_joined(terms, query, key, scores), dtype=jnp.bool_)
            return joined
        case Or(terms):
            visible = _evaluate(terms[0], query, key, scores)
            for term in terms[1:]:
                visible = visible | _evaluate(term, query, key, scores)
            return visible
    raise TypeError(f"mask: no rule to evaluate {type(mask).__name__}")


def _joined(terms: tuple[Mask, ...], query: Tokens, key: Tokens, scores: Array | None) -> list[Bool[Array, "B #N Q K"]]:
    """The terms of an `And`.

    In "rows", slots and positions are the same on real tokens, and `segment` hides all others: there the causal
    term needs no positions, and `nn.make_causal_mask` gives a constant that the compiler folds.
    """
    by_slots = query is key and query.layout == "rows" and any(isinstance(t, Segment) for t in terms)
    return [
        nn.make_causal_mask(query.ids, dtype=bool)
        if by_slots and isinstance(term, Causal)
        else _evaluate(term, query, key, scores)
        for term in terms
    ]
