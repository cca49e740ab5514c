"""A bias on the scores: an array, or a function of the two `Tokens`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from flaxmask.tokens import Array, Tokens

Bias = Array | Callable[[Tokens, Tokens], Array]
"""Broadcastable to `[B, N, Q, K]`. A pytree that is called on the Tokens gets gradients for its arrays."""


def whole_bias(bias: Any, query: Tokens, key: Tokens) -> Array:
    """Float32, for all queries and keys at once."""
    values: Any = bias(query, key) if callable(bias) else bias
    return values.astype(jnp.float32)
