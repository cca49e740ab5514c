"""One stack of layers over one stream of tokens: a masked, causal or prefix language model, a tagger, a classifier.

Which of these it is, the mask and the labels decide: `segment` sees the whole example, `causal & segment` what came
before, `segment & (causal | prefix)` the prefix too.
"""

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention import KeyValue
from flaxmask.audit import Attends
from flaxmask.masks.meaning import ceiling
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.layers import Embedder, Layer, Positions, Slots, empty_key_values, extend, hide_pad
from flaxmask.models.pooling import Pooled, pooled_flow
from flaxmask.tokens import Array, Batch, Tokens


class StackCache(NamedTuple):
    """Between two steps of a language model: keys, values and their `Tokens`. Empty slots are never visible.

    Attributes:
      tokens: of the slots, `[B, L]`; the segment of an empty one is -1.
      filled: int32 scalar, the number of slots in use.
      layers: keys and values of each layer, `[B, L, N, H]`.
      before: int32 `[B]`, tokens of the prefix; what is written has its positions behind them.
    """

    tokens: Tokens
    filled: Array
    layers: tuple[KeyValue, ...]
    before: Array


class Stack(nn.Module):
    """Layers, positions and logits of the Transformer, without a second side.

    Attributes:
      config: sizes and switches; `encoder_layers` are stacked over a source, `decoder_layers` over a target.
      masks: the formulas; of the encoder over a source, of the decoder over a target.
      vocabulary: number of ids that are read; 0 is padding.
      labels: number of ids that are predicted; where it is `vocabulary`, logits may be tied to the embedding.
      stream: the part of a batch that is read.
      pooled: whether there is one label a segment, at its first position; see `TransformerConfig.pooling`.
    """

    config: TransformerConfig
    masks: MaskConfig
    vocabulary: int
    labels: int
    stream: Literal["source", "target"] = "source"
    pooled: bool = False
    scores = True

    def setup(self):
        config = self.config
        dtype = jnp.dtype(config.dtype)
        self.embedder, self.positions = Embedder(self.vocabulary, config.d_model, dtype), Positions(config)
        wide = dataclasses.replace(config, d_ffn=config.d_ffn + config.d_model) if config.stack == "both" else config
        self.layers = [Layer(wide) for _ in range(self._depth)]
        if config.norm == "pre":
            self.norm = nn.LayerNorm(dtype=dtype)
        if self._pools:
            self.pool = Pooled(config)
        if not self._tied:
            self.head = nn.Dense(self.labels, dtype=dtype)
        self.drop = nn.Dropout(config.dropout)

    @property
    def _depth(self) -> int:
        sides = self.config.encoder_layers, self.config.decoder_layers
        return sum(sides) if self.config.stack == "both" else sides[self.stream == "target"]

    @property
    def _pools(self) -> bool:
        return self.pooled and self.config.pooling != "first"

    @property
    def _tied(self) -> bool:
        return self.config.tie_logits and self.labels == self.vocabulary

    @property
    def _mask(self):
        return self.masks.formula("encoder" if self.stream == "source" else "decoder")

    def __call__(self, batch: Batch, deterministic: bool = True) -> Float[Array, "B T V"]:
        """Logits of every label."""
        tokens = getattr(batch, self.stream)
        x = self.drop(self.positions(self.embedder(tokens.ids), tokens), deterministic=deterministic)
        for layer in self.layers:
            x, _ = layer(x, tokens, self._mask, deterministic=deterministic)
        if self._pools:
            x = self.pool(x, tokens, deterministic)
        return self._logits(x)

    def _logits(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        if self.config.norm == "pre":
            x = self.norm(x)
        return hide_pad(self.embedder.logits(x) if self._tied else self.head(x))

    def start(self, source: Tokens, length: int) -> StackCache:
        """Read `source` as a prefix, and make a cache with `length` empty slots behind it."""
        batch, prompt = source.shape
        slots = prompt + length
        cache = StackCache(
            Tokens.empty(batch, slots),
            jnp.zeros((), jnp.int32),
            empty_key_values(self.config, self._depth, batch, slots),
            jnp.zeros((batch,), jnp.int32),
        )
        prefix = Tokens(source.ids, source.segments, source.positions, jnp.asarray(source.real))
        _, cache = self.step(cache, prefix)
        return cache._replace(before=jnp.sum(source.real, axis=1, dtype=jnp.int32))

    def step(self, cache: StackCache, tokens: Tokens) -> tuple[Float[Array, "B Q V"], StackCache]:
        """Logits after `tokens` `[B, Q]`, whose positions count from the prefix on, and the cache with them."""
        positions = tokens.positions + cache.before[:, None]
        tokens = Tokens(tokens.ids, tokens.segments, positions, tokens.prefix)
        cached = extend(cache.tokens, cache.filled, tokens)
        x = self.positions(self.embedder(tokens.ids), tokens)
        layers = []
        for layer, key_value in zip(self.layers, cache.layers, strict=True):
            x, written = layer(x, tokens, self._mask, cache=Slots(key_value, cached, cache.filled))
            layers.append(written)
        filled = cache.filled + tokens.shape[1]
        return self._logits(x), StackCache(cached, filled, tuple(layers), cache.before)

    def flow(self, batch: Batch) -> list[Attends]:
        """Who reads whom, step by step, for `audit.closure`; layers are named as Linen names them."""
        tokens = getattr(batch, self.stream)
        seen = ceiling(self._mask)(tokens, tokens)
        steps = [Attends(f"layers_{i}", self.stream, self.stream, seen) for i in range(self._depth)]
        if self._pools:
            steps.append(Attends("pool", self.stream, self.stream, pooled_flow(tokens), residual=False))
        return steps
