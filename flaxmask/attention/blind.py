"""The law of empty rows, for kernels that average what a query that sees nothing must not see."""

import jax.numpy as jnp
from jaxtyping import Bool, Float

from flaxmask.tokens import Array


def zero_blind(out: Float[Array, "B Q N H"], visible: Bool[Array, "B 1 Q K"]) -> Float[Array, "B Q N H"]:
    """Zeros, and zero gradients, for queries that see nothing; XLA fuses the mask into their count and holds none."""
    sees = jnp.any(visible[:, 0], axis=-1)
    return jnp.where(sees[:, :, None, None], out, 0.0)
