"""The Transformer encoder-decoder (system D of the sources; Vaswani et al. 2017)."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.audit import Attends
from flaxmask.masks.meaning import ceiling
from flaxmask.models.config import MaskConfig, TransformerConfig
from flaxmask.models.handover import Handed, Opening, handed_flow, opening_flow
from flaxmask.models.layers import Dropout, Embedder, Head, Layer, Memory, Positions
from flaxmask.models.slots import HeadsFirst, Slots
from flaxmask.readout import Readout
from flaxmask.tokens import Array, Batch, Tokens


class Cache(NamedTuple):
    """A decoder between two steps.

    Attributes:
      slots: of the self-attention.
      memory: cross-attention keys and values of each layer; all hypotheses of a source read the same.
      source: the encoder's `Tokens`, `[B, S]`.
      opening: what is added to the first position, `[B, 1, D]`; None where nothing is.
    """

    slots: Slots
    memory: tuple[HeadsFirst, ...]
    source: Tokens
    opening: Array | None = None

    def fork(self, hypotheses: int) -> "Cache":
        """See `decoding.steps.Cache`."""
        return self._replace(slots=self.slots.fork(hypotheses))

    def take(self, parents: Array) -> "Cache":
        """See `decoding.steps.Cache`."""
        return self._replace(slots=self.slots.take(parents))

    def keep(self, sources: Array, hypotheses: int) -> "Cache":
        """See `decoding.steps.Cache`."""
        rest = jax.tree.map(lambda x: jnp.asarray(x)[sources], (self.memory, self.source, self.opening))
        return Cache(self.slots.keep(sources), *rest)

    def grow(self, slots: int) -> "Cache":
        """See `decoding.steps.Cache`."""
        return self._replace(slots=self.slots.grow(slots))


class Transformer(nn.Module):
    """Encoder-decoder over `Tokens`; the masks are formulas and the layout of a batch is no business of it.

    Attributes:
      config: sizes and switches.
      masks: the formulas of encoder, decoder and cross-attention.
      source_vocabulary: number of source ids; 0 is padding.
      target_vocabulary: number of target ids; 0 is padding.
    """

    config: TransformerConfig
    masks: MaskConfig
    source_vocabulary: int
    target_vocabulary: int
    scores = True

    def setup(self):
        config = self.config
        if config.share_embeddings and self.source_vocabulary != self.target_vocabulary:
            raise ValueError(
                f"share_embeddings: expected one vocabulary, got {self.source_vocabulary} source "
                f"and {self.target_vocabulary} target ids"
            )
        dtype = jnp.dtype(config.dtype)
        self.target_embedder = Embedder(self.target_vocabulary, config.d_model, dtype)
        if not config.share_embeddings:
            self.source_embedder = Embedder(self.source_vocabulary, config.d_model, dtype)
        self.source_positions, self.target_positions = Positions(config), Positions(config)
        self.decoder = [Layer(config, cross=True) for _ in range(config.decoder_layers)]
        self.encoder = self.decoder if config.share_layers else [Layer(config) for _ in range(config.encoder_layers)]
        if config.norm == "pre":
            self.encoder_norm, self.decoder_norm = nn.LayerNorm(dtype=dtype), nn.LayerNorm(dtype=dtype)
        if not config.tie_logits:
            self.head = Head(self.target_vocabulary, dtype)
        self.drop = Dropout(config.dropout)
        if config.handed != "all":
            self.handed = Handed(config.handed)
        if config.start != "token":
            self.opening = Opening(config.start, config.d_model)

    def __call__(self, batch: Batch, deterministic: bool = True) -> Float[Array, "B T V"]:
        """Logits of every label, the whole target at once."""
        return self.readout(batch, deterministic).logits()

    def readout(self, batch: Batch, deterministic: bool = True) -> Readout:
        """The same logits, not built yet."""
        encoded = self.encode(batch.source, deterministic)
        x = self._embed_target(batch.target, deterministic, self._opening(encoded, batch.target, batch.source))
        for layer in self.decoder:
            memory = self._memory(layer.project_memory(encoded), batch.source)
            x, _ = layer(x, batch.target, self.masks.formula("decoder"), memory, deterministic)
        return self._readout(x)

    def flow(self, batch: Batch) -> list[Attends]:
        """Who reads whom, step by step, for `audit.closure`; layers are named as Linen names them."""
        visible = lambda part, query, key: ceiling(self.masks.formula(part))(query, key)
        encoder = visible("encoder", batch.source, batch.source)
        decoder = visible("decoder", batch.target, batch.target)
        cross = visible("cross", batch.target, batch.source)
        layers = "decoder" if self.config.share_layers else "encoder"
        steps = [Attends(f"{layers}_{i}", "source", "source", encoder) for i in range(self.config.encoder_layers)]
        steps += handed_flow(self.config.handed, batch.source)
        steps += opening_flow(self.config.start, batch.target, batch.source)
        for i in range(self.config.decoder_layers):
            steps.append(Attends(f"decoder_{i}", "target", "target", decoder))
            steps.append(Attends(f"decoder_{i}", "target", "source", cross))
        return steps

    def encode(self, source: Tokens, deterministic: bool = True) -> Float[Array, "B S D"]:
        """The encoder's output."""
        embedder = self.target_embedder if self.config.share_embeddings else self.source_embedder
        x = self.drop(self.source_positions(embedder(source.ids), source), deterministic=deterministic)
        for layer in self.encoder:
            x, _ = layer(x, source, self.masks.formula("encoder"), deterministic=deterministic)
        x = self.encoder_norm(x) if self.config.norm == "pre" else x
        return x if self.config.handed == "all" else self.handed(x, source)

    def start(self, source: Tokens, length: int) -> Cache:
        """Encode `source` and make a cache of `length` empty slots."""
        encoded = self.encode(source)
        slots = Slots.empty(self.config, len(self.decoder), source.shape[0], length)
        memory = tuple(layer.project_memory(encoded) for layer in self.decoder)
        ones = jnp.ones((source.shape[0], 1), jnp.int32)
        return Cache(slots, memory, source, self._opening(encoded, Tokens(ones, ones, 0 * ones), source))

    def step(self, cache: Cache, tokens: Tokens) -> tuple[Float[Array, "B Q V"], Cache]:
        """Logits after `tokens` `[B, Q]`, and the cache with them.

        Any Q in a row of one hypothesis, so that a prefix can be read at once; one token of each in a row of several.
        """
        slots = cache.slots.extend(tokens)
        opening = cache.opening
        if opening is not None:
            opening = jnp.where((tokens.positions == 0)[..., None], opening, 0.0)
        x = self._embed_target(tokens, True, opening)
        layers = []
        for number, (layer, memory) in enumerate(zip(self.decoder, cache.memory, strict=True)):
            read = self._memory(memory, cache.source)
            own = slots.of_layer(number, cache.slots.filled)
            x, written = layer(x, tokens, self.masks.formula("decoder"), read, cache=own)
            layers.append(written)
        return self._readout(x).logits(), cache._replace(slots=slots._replace(layers=tuple(layers)))

    def _memory(self, key_value: HeadsFirst, source: Tokens) -> Memory:
        return Memory(key_value, source, self.masks.formula("cross"))

    def _opening(self, encoded: Array, target: Tokens, source: Tokens) -> Array | None:
        return None if self.config.start == "token" else self.opening(encoded, target, source)

    def _embed_target(self, target: Tokens, deterministic: bool, opening: Array | None) -> Float[Array, "B T D"]:
        x = self.target_positions(self.target_embedder(target.ids), target)
        x = x if opening is None else x + opening
        return self.drop(x, deterministic=deterministic)

    def _readout(self, x: Float[Array, "B T D"]) -> Readout:
        if self.config.norm == "pre":
            x = self.decoder_norm(x)
        return self.target_embedder.readout(x) if self.config.tie_logits else self.head(x)
