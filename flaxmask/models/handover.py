"""What an encoder hands to a decoder, all positions or one vector of each example, and what the decoder starts from."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from flaxmask.audit import Attends
from flaxmask.models.recurrence import ends
from flaxmask.tokens import Array, Tokens


def shares(how: str, reader: Tokens, read: Tokens) -> Float[Array, "B T S"]:
    """Which part each slot of `reader` takes of each slot of `read`: of its own segment the last, the first, or all
    alike ("mean").
    """
    if how != "mean":
        return jnp.asarray(ends(reader, read, "hold", first=how == "first"), jnp.float32)
    own = (jnp.asarray(reader.segments)[:, :, None] == jnp.asarray(read.segments)[:, None]) & reader.real[:, :, None]
    return own / jnp.maximum(jnp.sum(own, axis=-1, keepdims=True), 1).astype(jnp.float32)


class Handed(nn.Module):
    """One vector of each example, at every one of its slots: to attend to these is to read that vector, whatever the
    weights.

    Attributes:
      how: "last", "mean" or "first".
    """

    how: str

    def __call__(self, encoded: Float[Array, "B S D"], source: Tokens) -> Float[Array, "B S D"]:
        """`encoded` with the vector in place of each slot's own."""
        return shares(self.how, source, source).astype(encoded.dtype) @ encoded


class Opening(nn.Module):
    """What is added to the first position of each target.

    Attributes:
      how: "handed", the mean of the source's vectors through a projection; or "random", one vector for all.
      width: of the target's vectors.
    """

    how: str
    width: int

    @nn.compact
    def __call__(self, encoded: Float[Array, "B S E"], target: Tokens, source: Tokens) -> Float[Array, "B T D"]:
        """Zeros at all other positions."""
        first = (jnp.asarray(target.positions) == 0)[..., None]
        if self.how == "random":
            return jnp.where(first, at_random(self.width), 0.0).astype(encoded.dtype)
        mean = shares("mean", target, source).astype(encoded.dtype) @ encoded
        return jnp.where(first, nn.Dense(self.width, dtype=encoded.dtype)(mean), 0.0)


def handed_flow(how: str, source: Tokens) -> list[Attends]:
    """Of `Handed`, for the audit; nothing where all positions are handed over."""
    if how == "all":
        return []
    return [Attends("handed", "source", "source", np.asarray(shares(how, source, source)) > 0, residual=False)]


def opening_flow(how: str, target: Tokens, source: Tokens) -> list[Attends]:
    """Of `Opening`, for the audit."""
    if how != "handed":
        return []
    seen = (np.asarray(shares("mean", target, source)) > 0) & (np.asarray(target.positions) == 0)[..., None]
    return [Attends("opening", "target", "source", seen)]


def at_random(width: int) -> Float[Array, "D"]:
    """Always the same, of a deviation of 1."""
    return jax.random.normal(jax.random.PRNGKey(0), (width,))
