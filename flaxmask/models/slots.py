"""The slots of a decoder's cache: keys, values and their `Tokens`, for one hypothesis a row or for several.

Hypotheses of one source stand side by side in its row, and each step writes one slot for each of them. What was
written is never moved: which slots a hypothesis descends from is one more thing that its queries may or may not see.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from flaxmask.attention import KeyValue
from flaxmask.models.config import TransformerConfig
from flaxmask.tokens import Array, Tokens


class LayerSlots(NamedTuple):
    """What one layer reads and writes.

    Attributes:
      key_value: of all slots, `[B, L, N, H]`.
      tokens: of all slots, those about to be written included.
      start: the first slot to be written.
      bias: added to the scores, `[B, 1, K, L]`: -inf on slots of other hypotheses; None where there is one.
    """

    key_value: KeyValue
    tokens: Tokens
    start: Any
    bias: Float[Array, "B 1 K L"] | None

    def write(self, new: KeyValue) -> KeyValue:
        """Keys and values of the slots with `new` at those from `start` on."""
        put = lambda old, x: jax.lax.dynamic_update_slice_in_dim(old, x.astype(old.dtype), self.start, axis=1)
        return put(self.key_value[0], new[0]), put(self.key_value[1], new[1])


class Slots(NamedTuple):
    """Empty slots are never visible.

    Attributes:
      tokens: of the slots, `[B, L]`; the segment of an empty one is -1.
      filled: int32 scalar, the number of slots in use.
      layers: keys and values of each layer, `[B, L, N, H]`.
      lineage: `[B, K, L]`, the slots that each of K hypotheses descends from; None where there is one.
    """

    tokens: Tokens
    filled: Array
    layers: tuple[KeyValue, ...]
    lineage: Bool[Array, "B K L"] | None = None

    @classmethod
    def empty(cls, config: TransformerConfig, layers: int, batch: int, length: int) -> "Slots":
        """Of so many layers, `length` slots a row."""
        empty = jnp.zeros((batch, length, config.heads, config.d_model // config.heads), jnp.dtype(config.dtype))
        return cls(Tokens.empty(batch, length), jnp.zeros((), jnp.int32), ((empty, empty),) * layers)

    def fork(self, hypotheses: int) -> "Slots":
        """For so many hypotheses a row, each of which has all that is filled behind it."""
        batch, length = self.tokens.shape
        before = jnp.arange(length, dtype=jnp.int32) < self.filled
        return self._replace(lineage=jnp.broadcast_to(before[None, None], (batch, hypotheses, length)))

    def take(self, parents: Int[Array, "B K"]) -> "Slots":
        """Each hypothesis goes on from that one."""
        assert self.lineage is not None, "fork comes first"
        return self._replace(lineage=jnp.take_along_axis(self.lineage, parents[..., None], axis=1))

    def extend(self, tokens: Tokens) -> "Slots":
        """With `tokens` `[B, Q]` in the next slots: one hypothesis' own, or one of each."""
        write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, self.filled, axis=1)
        prefix = jnp.zeros(tokens.shape, bool) if tokens.prefix is None else tokens.prefix
        new = Tokens(tokens.ids, tokens.segments, tokens.positions, prefix)
        lineage = self.lineage
        if lineage is not None:
            hypotheses = jnp.arange(tokens.shape[1], dtype=jnp.int32)
            own = self.filled + hypotheses[:, None] == jnp.arange(lineage.shape[-1], dtype=jnp.int32)[None]
            lineage = lineage | own[None]
        return Slots(jax.tree.map(write, self.tokens, new), self.filled + tokens.shape[1], self.layers, lineage)

    def of_layer(self, number: int, start: Any) -> LayerSlots:
        """Of the layer of that number, which writes its own keys and values into the slots from `start` on."""
        bias = None if self.lineage is None else jnp.where(self.lineage, 0.0, -jnp.inf)[:, None]
        return LayerSlots(self.layers[number], self.tokens, start, bias)
