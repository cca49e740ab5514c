"""One stack of layers over one stream of tokens: a masked, causal or prefix language model, a tagger, a classifier.

Which of these it is, the mask and the labels decide: `segment` sees the whole example, `causal & segment` what came
before, `segment & (causal | prefix)` the prefix too.
"""

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.audit import Attends
from flaxmask.masks.meaning import ceiling
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.layers import Dropout, Embedder, Head, Layer, Positions
from flaxmask.models.pooling import Pooled, pooled_flow
from flaxmask.models.slots import Slots
from flaxmask.readout import Readout
from flaxmask.tokens import Array, Batch, Tokens


class StackCache(NamedTuple):
    """A language model between two steps.

    Attributes:
      slots: of the self-attention, those of the prefix first.
      before: int32 `[B]`, tokens of the prefix; what is written has its positions behind them.
    """

    slots: Slots
    before: Array

    def fork(self, hypotheses: int) -> "StackCache":
        """See `decoding.steps.Cache`."""
        return self._replace(slots=self.slots.fork(hypotheses))

    def take(self, parents: Array) -> "StackCache":
        """See `decoding.steps.Cache`."""
        return self._replace(slots=self.slots.take(parents))

    def keep(self, sources: Array, hypotheses: int) -> "StackCache":
        """See `decoding.steps.Cache`."""
        return StackCache(self.slots.keep(sources), self.before[sources])

    def grow(self, slots: int) -> "StackCache":
        """See `decoding.steps.Cache`."""
        return self._replace(slots=self.slots.grow(slots))


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
            self.head = Head(self.labels, dtype)
        self.drop = Dropout(config.dropout)

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
        return self.readout(batch, deterministic).logits()

    def readout(self, batch: Batch, deterministic: bool = True) -> Readout:
        """The same logits, not built yet."""
        tokens = getattr(batch, self.stream)
        x = self.drop(self.positions(self.embedder(tokens.ids), tokens), deterministic=deterministic)
        for layer in self.layers:
            x, _ = layer(x, tokens, self._mask, deterministic=deterministic)
        if self._pools:
            x = self.pool(x, tokens, deterministic)
        return self._readout(x)

    def _readout(self, x: Float[Array, "B T D"]) -> Readout:
        if self.config.norm == "pre":
            x = self.norm(x)
        return self.embedder.readout(x) if self._tied else self.head(x)

    def start(self, source: Tokens, length: int) -> StackCache:
        """Read `source` as a prefix, and make a cache with `length` empty slots behind it."""
        batch, prompt = source.shape
        cache = StackCache(
            Slots.empty(self.config, self._depth, batch, prompt + length), jnp.zeros((batch,), jnp.int32)
        )
        prefix = Tokens(source.ids, source.segments, source.positions, jnp.asarray(source.real))
        _, cache = self.step(cache, prefix)
        return cache._replace(before=jnp.sum(source.real, axis=1, dtype=jnp.int32))

    def step(self, cache: StackCache, tokens: Tokens) -> tuple[Float[Array, "B Q V"], StackCache]:
        """Logits after `tokens` `[B, Q]`, whose positions count from the prefix on, and the cache with them.

        Any Q in a row of one hypothesis; one token of each in a row of several.
        """
        positions = tokens.positions + cache.before[:, None]
        tokens = Tokens(tokens.ids, tokens.segments, positions, tokens.prefix)
        slots = cache.slots.extend(tokens)
        x = self.positions(self.embedder(tokens.ids), tokens)
        layers = []
        for number, layer in enumerate(self.layers):
            x, written = layer(x, tokens, self._mask, cache=slots.of_layer(number, cache.slots.filled))
            layers.append(written)
        return self._readout(x).logits(), cache._replace(slots=slots._replace(layers=tuple(layers)))

    def flow(self, batch: Batch) -> list[Attends]:
        """Who reads whom, step by step, for `audit.closure`; layers are named as Linen names them."""
        tokens = getattr(batch, self.stream)
        seen = ceiling(self._mask)(tokens, tokens)
        steps = [Attends(f"layers_{i}", self.stream, self.stream, seen) for i in range(self._depth)]
        if self._pools:
            steps.append(Attends("pool", self.stream, self.stream, pooled_flow(tokens), residual=False))
        return steps
