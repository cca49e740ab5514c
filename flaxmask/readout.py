"""Logits that are not built yet: what a model says of every position, and the matrix that makes ids of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.products import einsum32
from flaxmask.tokens import PADDING, Array


class Readout(NamedTuple):
    """Logits as a product that is still to be taken. A loss takes it a part at a time, and never holds all of them.

    Attributes:
      features: of every position.
      matrix: a row for each id.
      bias: of each id; None is zeros.
    """

    features: Float[Array, "*axes D"]
    matrix: Float[Array, "V D"]
    bias: Float[Array, "V"] | None = None

    def logits(self) -> Float[Array, "*axes V"]:
        """All of them in float32, the pad's (id 0) at −∞."""
        logits = einsum32("...D,VD->...V", self.features, self.matrix)
        if self.bias is not None:
            logits = logits + jnp.expand_dims(self.bias.astype(jnp.float32), range(logits.ndim - 1))
        never = jnp.full((*logits.shape[:-1], 1), -jnp.inf, jnp.float32)
        return jax.lax.dynamic_update_slice_in_dim(logits, never, PADDING, axis=-1)
