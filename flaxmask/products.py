"""Products with a float32 result, whatever the operands."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.tokens import Array


def einsum32(subscripts: str, left: Float[Array, "..."], right: Float[Array, "..."]) -> Float[Array, "..."]:
    """`einsum` accumulated and given in float32.

    On CPU the operands are widened first: XLA has no product of bfloat16 into float32 there before jax 0.8, and
    none that is faster than float32's since.
    """
    if jax.default_backend() == "cpu":
        left, right = left.astype(jnp.float32), right.astype(jnp.float32)
    return jnp.einsum(subscripts, left, right, preferred_element_type=jnp.float32)
