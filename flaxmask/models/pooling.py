"""One vector for a segment, at all of its slots: what a classifier reads."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from flaxmask import masks
from flaxmask.attention import MultiHeadAttention
from flaxmask.models.config import TransformerConfig
from flaxmask.models.recurrence import final_states
from flaxmask.tokens import Array, Tokens


class Pooled(nn.Module):
    """The masked mean of a segment, or attention over it whose only query is its first position (system F)."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], tokens: Tokens, deterministic: bool = True) -> Float[Array, "B T D"]:
        """`x` is what the last layer gave."""
        if self.config.pooling == "mean":
            same = jnp.asarray(masks.segment(tokens, tokens)[:, 0], x.dtype)
            return same @ x / jnp.maximum(jnp.sum(same, axis=-1, keepdims=True), 1.0)
        first = final_states(x, tokens, tokens, "hold", first=True)
        config = self.config
        attention = MultiHeadAttention(
            config.heads,
            config.d_model,
            config.attention_dropout,
            config.attention,
            config.mask_form,
            jnp.dtype(config.dtype),
            name="attention",
        )
        return attention(first, x, masks.segment, tokens, tokens, deterministic)


def pooled_flow(tokens: Tokens) -> Bool[np.ndarray, "B T T"]:
    """What each slot knows after pooling: its segment."""
    return np.asarray(masks.segment(tokens, tokens))[:, 0]
