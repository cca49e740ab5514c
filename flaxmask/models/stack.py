"""One stack of layers over one stream of tokens: a masked, causal or prefix language model, a tagger, a classifier.

Which of these it is, the mask and the labels decide: `segment` sees the whole example, `causal & segment` what came
before, `segment & (causal | prefix)` the prefix too.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.audit import Attends
from flaxmask.masks.meaning import ceiling
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.layers import Embedder, Layer, Positions, hide_pad
from flaxmask.models.pooling import Pooled, pooled_flow
from flaxmask.tokens import Array, Batch


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
        self.layers = [Layer(config) for _ in range(self._depth)]
        if config.norm == "pre":
            self.norm = nn.LayerNorm(dtype=dtype)
        if self._pools:
            self.pool = Pooled(config)
        if not self._tied:
            self.head = nn.Dense(self.labels, dtype=dtype)
        self.drop = nn.Dropout(config.dropout)

    @property
    def _depth(self) -> int:
        return self.config.encoder_layers if self.stream == "source" else self.config.decoder_layers

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
        if self.config.norm == "pre":
            x = self.norm(x)
        if self._pools:
            x = self.pool(x, tokens, deterministic)
        return hide_pad(self.embedder.logits(x) if self._tied else self.head(x))

    def flow(self, batch: Batch) -> list[Attends]:
        """Who reads whom, step by step, for `audit.closure`; layers are named as Linen names them."""
        tokens = getattr(batch, self.stream)
        seen = ceiling(self._mask)(tokens, tokens)
        steps = [Attends(f"layers_{i}", self.stream, self.stream, seen) for i in range(self._depth)]
        if self._pools:
            steps.append(Attends("pool", self.stream, self.stream, pooled_flow(tokens), residual=False))
        return steps
