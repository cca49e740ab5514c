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

HeadsFirst = tuple[Float[Array, "B N L H"], Float[Array, "B N L H"]]
"""Keys and values as they are kept between steps: in the order of their products, so that no step turns them."""


def turned(key_value: tuple[Array, Array]) -> tuple[Array, Array]:
    """Keys and values with the axes of time and heads in the other order."""
    key, value = key_value
    return key.swapaxes(1, 2), value.swapaxes(1, 2)


class LayerSlots(NamedTuple):
    """What one layer reads and writes.

    Attributes:
      key_value: of all slots.
      tokens: of all slots, those about to be written included.
      start: the first slot to be written.
      bias: added to the scores, `[B, 1, K, L]`: -inf on slots of other hypotheses; None where there is one.
    """

    key_value: HeadsFirst
    tokens: Tokens
    start: Any
    bias: Float[Array, "B 1 K L"] | None

    def write(self, new: KeyValue) -> HeadsFirst:
        """Keys and values of the slots with `new` at those from `start` on."""
        put = lambda old, x: jax.lax.dynamic_update_slice_in_dim(old, x.astype(old.dtype), self.start, axis=2)
        key, value = turned(new)
        return put(self.key_value[0], key), put(self.key_value[1], value)


class Slots(NamedTuple):
    """Empty slots are never visible.

    Attributes:
      tokens: of the slots, `[B, L]`; the segment of an empty one is -1.
      filled: int32 scalar, the number of slots in use.
      layers: keys and values of each layer.
      lineage: `[B, K, L]`, the slots that each of K hypotheses descends from; None where there is one.
    """

    tokens: Tokens
    filled: Array
    layers: tuple[HeadsFirst, ...]
    lineage: Bool[Array, "B K L"] | None = None

    @classmethod
    def empty(cls, config: TransformerConfig, layers: int, batch: int, length: int) -> "Slots":
        """Of so many layers, `length` slots a row."""
        empty = jnp.zeros((batch, config.heads, length, config.d_model // config.heads), jnp.dtype(config.dtype))
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

    def keep(self, rows: Int[Array, "N"]) -> "Slots":
        """Of these rows alone."""
        return jax.tree.map(lambda x: x[rows] if x.ndim else x, self)

    def grow(self, slots: int) -> "Slots":
        """With so many more empty slots a row."""
        more = lambda old, new: jnp.concatenate([old, new.astype(old.dtype)], axis=1)
        tokens = jax.tree.map(more, self.tokens, Tokens.empty(self.tokens.shape[0], slots))
        pad = lambda x, axis: jnp.pad(x, [(0, slots if i == axis else 0) for i in range(x.ndim)])
        layers = jax.tree.map(lambda x: pad(x, 2), self.layers)
        return Slots(tokens, self.filled, layers, None if self.lineage is None else pad(self.lineage, 2))

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
