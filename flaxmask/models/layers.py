"""The parts that a Transformer is stacked from."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from flaxmask.attention import MultiHeadAttention
from flaxmask.attention.dropout import dropout
from flaxmask.attention.relative import alibi, buckets, distances
from flaxmask.masks import Mask
from flaxmask.models.config import TransformerConfig
from flaxmask.models.slots import HeadsFirst, LayerSlots, turned
from flaxmask.readout import Readout
from flaxmask.tokens import PADDING, Array, Tokens


def sinusoid(positions: Int[Array, "B T"], d_model: int) -> Float[Array, "B T D"]:
    """Sines, then cosines, of wavelengths 2π to 10000·2π (Vaswani et al. 2017, section 3.5)."""
    pairs = -(-d_model // 2)
    frequencies = jnp.asarray(10_000.0 ** (-np.arange(pairs) / max(pairs - 1, 1)), jnp.float32)
    angles = positions[..., None].astype(jnp.float32) * frequencies[None, None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)[..., :d_model]


class Embedder(nn.Module):
    """Token embedding and, through the same matrix, logits. The pad's row is zeros and stays so: what is looked up
    there is a constant, and its logit is -inf, so neither side moves it.
    """

    vocabulary: int
    d_model: int
    dtype: jnp.dtype

    def setup(self):
        normal = nn.initializers.normal(self.d_model**-0.5)
        init = lambda rng, shape: normal(rng, shape).at[PADDING].set(0.0)
        self.embedding = self.param("embedding", init, (self.vocabulary, self.d_model))

    def __call__(self, ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Rows of the table, scaled by √d_model to the size of the positions."""
        rows = jnp.take(self.embedding, ids, axis=0)
        return jnp.where((ids == PADDING)[..., None], 0.0, rows).astype(self.dtype) * self.d_model**0.5

    def readout(self, x: Float[Array, "B T D"]) -> Readout:
        """Products with every row of the table."""
        return Readout(x, self.embedding.astype(self.dtype))


class Head(nn.Module):
    """A readout with parameters of its own, under the names that `nn.Dense` gives them."""

    labels: int
    dtype: jnp.dtype = jnp.dtype("float32")

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Readout:
        """Products with every column of the kernel, and a bias."""
        kernel = self.param("kernel", nn.linear.default_kernel_init, (x.shape[-1], self.labels))
        bias = self.param("bias", nn.initializers.zeros, (self.labels,))
        return Readout(x.astype(self.dtype), kernel.astype(self.dtype).T, bias.astype(self.dtype))


BUCKETS = 32
"""Of distances, in both directions."""

BIASED = ("alibi", "relative")
"""Positions that are told to the scores of every self-attention, not added to the embeddings."""


class Positions(nn.Module):
    """Adds what stands for `Tokens.positions`, so that packed and padded rows agree."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], tokens: Tokens) -> Float[Array, "B T D"]:
        """`x` plus the encoding of each position."""
        config = self.config
        if config.positions in ("none", *BIASED):
            return x
        if config.positions == "single":
            angles = tokens.positions.astype(jnp.float32) * (10_000.0 / config.d_model)
            return x + jnp.sin(angles)[..., None].astype(x.dtype)
        if config.positions == "sinusoidal":
            return x + sinusoid(tokens.positions, config.d_model).astype(x.dtype)
        shape = (config.max_positions, config.d_model)
        table = self.param("table", nn.initializers.normal(0.02), shape)
        # A position past the table gives NaN, not the last row once more; padding's means nothing, and a NaN
        # there would reach everybody, since 0 · NaN is NaN.
        positions = jnp.where(tokens.real, tokens.positions, 0)
        return x + jnp.take(table, positions, axis=0, mode="fill").astype(x.dtype)


class RelativeBias(nn.Module):
    """Of the scores of one self-attention, by the distance of its positions."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, query: Tokens, key: Tokens) -> Float[Array, "B N Q K"]:
        """ALiBi's, or a learned number for each bucket of distances and each head."""
        heads = self.config.heads
        if self.config.positions == "alibi":
            return alibi(query, key, heads)
        table = self.param("table", nn.initializers.zeros, (BUCKETS, heads))
        return jnp.moveaxis(jnp.take(table, buckets(distances(query, key), BUCKETS), axis=0), -1, 1)


class Dropout(nn.Module):
    """`dropout` with keys of the stream "dropout"."""

    rate: float

    def __call__(self, x: Float[Array, "*axes"], deterministic: bool) -> Float[Array, "*axes"]:
        """Some of `x`; all of it where `deterministic`."""
        return x if deterministic or not self.rate else dropout(x, self.rate, self.make_rng("dropout"))


class Memory(NamedTuple):
    """What a layer's cross-attention reads.

    Attributes:
      key_value: of the encoder's output, from `Layer.project_memory`.
      tokens: the source's.
      mask: who may read what of it.
    """

    key_value: HeadsFirst
    tokens: Tokens
    mask: Mask


class Layer(nn.Module):
    """Self-attention, cross-attention where `cross` is set, and a feed-forward block, each with its residual."""

    config: TransformerConfig
    cross: bool = False

    def setup(self):
        config = self.config
        dtype = jnp.dtype(config.dtype)
        attention = lambda: MultiHeadAttention(
            config.heads,
            config.d_model,
            config.attention_dropout,
            config.attention,
            config.mask_form,
            dtype,
            kernel_init=nn.initializers.xavier_uniform(),
        )
        norm = lambda: nn.LayerNorm(dtype=dtype)
        dense = lambda features: nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.xavier_uniform())
        self.self_attention, self.self_norm = attention(), norm()
        if self.cross:
            self.cross_attention, self.cross_norm = attention(), norm()
        self.expand, self.contract, self.ffn_norm = dense(config.d_ffn), dense(config.d_model), norm()
        self.drop = Dropout(config.dropout)
        if config.positions in BIASED:
            self.relative = RelativeBias(config)

    def _before(self, norm: nn.Module, x: Array) -> Array:
        """What a sub-layer reads."""
        return norm(x) if self.config.norm == "pre" else x

    def _after(self, norm: nn.Module, x: Array, out: Array, deterministic: bool) -> Array:
        """The residual sum, with the sub-layer's output."""
        total = x + self.drop(out, deterministic=deterministic)
        return total if self.config.norm == "pre" else norm(total)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        tokens: Tokens,
        mask: Mask,
        memory: Memory | None = None,
        deterministic: bool = True,
        cache: LayerSlots | None = None,
    ) -> tuple[Float[Array, "B T D"], HeadsFirst | None]:
        """One layer.

        Args:
          x: the residual stream.
          tokens: of the positions in `x`.
          mask: of the self-attention.
          memory: what the cross-attention reads; None where there is none.
          deterministic: whether dropout is off.
          cache: the slots that `x` is written to and attends to; None attends within `x` alone.

        Returns:
          The residual stream, and the slots with what was written to them; None without a cache.
        """
        y = self._before(self.self_norm, x)
        query, key_value = self.self_attention.project_self(y)
        key_tokens, bias, kept = tokens, None, None
        if cache is not None:
            kept, key_tokens, bias = cache.write(key_value), cache.tokens, cache.bias
            key_value = turned(kept)
        if self.config.positions in BIASED:
            by_distance = self.relative(tokens, key_tokens)
            bias = by_distance if bias is None else by_distance + bias
        out = self.self_attention.attend_projected(query, key_value, mask, tokens, key_tokens, deterministic, bias)
        x = self._after(self.self_norm, x, out, deterministic)
        if memory is not None:
            y = self._before(self.cross_norm, x)
            read = turned(memory.key_value)
            out = self.cross_attention.attend(y, read, memory.mask, tokens, memory.tokens, deterministic)
            x = self._after(self.cross_norm, x, out, deterministic)
        y = self._before(self.ffn_norm, x)
        out = self.contract(nn.relu(self.expand(y)))
        return self._after(self.ffn_norm, x, out, deterministic), kept

    def project_memory(self, encoded: Float[Array, "B S D"]) -> HeadsFirst:
        """Keys and values of the cross-attention."""
        return turned(self.cross_attention.project_memory(encoded))
