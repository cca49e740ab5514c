"""LSTM encoder-decoders (systems A and B of the sources), and a stack of LSTM layers over one stream."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from flaxmask.attention import MultiHeadAttention
from flaxmask.audit import Attends
from flaxmask.masks.evaluate import evaluate
from flaxmask.masks.meaning import ceiling
from flaxmask.models.config import MaskConfig, RecurrentConfig
from flaxmask.models.handover import Handed, at_random, handed_flow
from flaxmask.models.layers import Dropout, Embedder, Head
from flaxmask.models.recurrence import (
    Carry,
    Read,
    Recurrence,
    State,
    ends,
    final_states,
    recurrence_mask,
)
from flaxmask.readout import Readout
from flaxmask.tokens import Array, Batch, Tokens


class Encoded(NamedTuple):
    """What an encoder hands to a decoder.

    Attributes:
      outputs: of the last layer, `[B, S, D]`.
      states: of each layer and each direction, at every slot.
    """

    outputs: Float[Array, "B S D"]
    states: tuple[tuple[State, ...], ...]


class Cache(NamedTuple):
    """A decoder between two steps.

    Attributes:
      layers: what each recurrence goes on from.
      encoded: the encoder's output.
      source: the encoder's `Tokens`.
    """

    layers: tuple[Carry, ...]
    encoded: Encoded
    source: Tokens

    def fork(self, hypotheses: int) -> "Cache":
        """See `decoding.steps.Cache`. Each hypothesis becomes a row."""
        return jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x), hypotheses, axis=0), self)

    def take(self, parents: Int[Array, "B K"]) -> "Cache":
        """See `decoding.steps.Cache`."""
        batch, hypotheses = parents.shape
        rows = (parents + hypotheses * jnp.arange(batch, dtype=jnp.int32)[:, None]).reshape(-1)
        return self._replace(layers=jax.tree.map(lambda x: x[rows], self.layers))

    def keep(self, sources: Int[Array, "N"], hypotheses: int) -> "Cache":
        """See `decoding.steps.Cache`."""
        rows = (sources[:, None] * hypotheses + jnp.arange(hypotheses, dtype=jnp.int32)[None]).reshape(-1)
        return jax.tree.map(lambda x: jnp.asarray(x)[rows], self)

    def grow(self, slots: int) -> "Cache":
        """See `decoding.steps.Cache`. A state is as large before any number of tokens."""
        return self


class RecurrentLayer(nn.Module):
    """One or two directions, side by side."""

    config: RecurrentConfig

    def setup(self):
        config = self.config
        self.forward = Recurrence(config.hidden, config.masking)
        if config.bidirectional:
            self.backward = Recurrence(config.hidden, config.masking, reverse=True)

    def __call__(self, x: Float[Array, "B T D"], tokens: Tokens) -> tuple[Float[Array, "B T E"], tuple[State, ...]]:
        """Hidden states of every slot, and the states of each direction."""
        directions = [self.forward, self.backward] if self.config.bidirectional else [self.forward]
        states = tuple(run(x, tokens)[:2] for run in directions)
        return jnp.concatenate([hidden for hidden, _ in states], axis=-1), states

    def finals(self, states: tuple[State, ...], reader: Tokens, read: Tokens) -> list[State]:
        """For each direction and each slot of `reader`, the state that its segment of `read` ended with."""
        masking = self.config.masking
        final = lambda x, number: final_states(x, reader, read, masking, first=number == 1)
        return [(final(hidden, n), final(cell, n)) for n, (hidden, cell) in enumerate(states)]


def _flow(config: RecurrentConfig, name: str, stream: str, tokens: Tokens) -> Attends:
    """What one layer of both directions lets through."""
    mask = recurrence_mask(tokens, config.masking)
    if config.bidirectional:
        mask = mask | recurrence_mask(tokens, config.masking, reverse=True)
    return Attends(name, stream, stream, mask, residual=False)


def _ends(config: RecurrentConfig, reader: Tokens, read: Tokens) -> np.ndarray:
    """Which slots final states are taken from."""
    mask = ends(reader, read, config.masking)
    return np.asarray(mask | ends(reader, read, config.masking, first=True) if config.bidirectional else mask)


class RecurrentEncoderDecoder(nn.Module):
    """Encoder-decoder: the decoder starts from the encoder's final state, and may read its outputs.

    In packed rows each segment of the target starts from the final state of its own segment of the source.

    Attributes:
      config: sizes and switches.
      masks: of which `cross` says what attention may read; the order of the recurrences is their own.
      source_vocabulary: number of source ids; 0 is padding.
      target_vocabulary: number of target ids; 0 is padding.
    """

    config: RecurrentConfig
    masks: MaskConfig
    source_vocabulary: int
    target_vocabulary: int

    @property
    def scores(self) -> bool:
        """Whether there is a softmax over what is read."""
        return self.config.attention in ("additive", "dot")

    def setup(self):
        config = self.config
        self.source_embedder = Embedder(self.source_vocabulary, config.d_model, jnp.dtype("float32"))
        self.target_embedder = Embedder(self.target_vocabulary, config.d_model, jnp.dtype("float32"))
        self.encoder = [RecurrentLayer(config) for _ in range(config.encoder_layers)]
        inside = config.attention if config.attention in ("additive", "interactive") else "none"
        last = config.decoder_layers - 1
        self.decoder = [
            Recurrence(
                config.hidden,
                config.masking,
                attention=inside if i == last else "none",
                gate=config.gate,
                input_bias=config.input_bias,
            )
            for i in range(config.decoder_layers)
        ]
        if config.bidirectional and config.start == "handed":  # two final states become one
            self.bridge = [(nn.Dense(config.hidden), nn.Dense(config.hidden)) for _ in self.decoder]
        if config.attention == "dot":
            self.attention = MultiHeadAttention(1, config.hidden)
        if config.attention != "none":
            self.combine = nn.Dense(config.hidden)
        if config.handed != "all":
            self.handed = Handed(config.handed)
        self.head = Head(self.target_vocabulary)
        self.drop = Dropout(config.dropout)

    def __call__(self, batch: Batch, deterministic: bool = True) -> Float[Array, "B T V"]:
        """Logits of every label, the whole target at once."""
        return self.readout(batch, deterministic).logits()

    def readout(self, batch: Batch, deterministic: bool = True) -> Readout:
        """The same logits, not built yet."""
        encoded = self.encode(batch.source, deterministic)
        return self._decode(encoded, batch.source, batch.target, (None,) * len(self.decoder), deterministic)[0]

    def encode(self, source: Tokens, deterministic: bool = True) -> Encoded:
        """The encoder's outputs and states."""
        x = self.drop(self.source_embedder(source.ids), deterministic=deterministic)
        kept = []
        for layer in self.encoder:
            x, states = layer(x, source)
            x = self.drop(x, deterministic=deterministic)
            kept.append(states)
        x = x if self.config.handed == "all" else self.handed(x, source)
        return Encoded(x, tuple(kept))

    def start(self, source: Tokens, length: int) -> Cache:
        """Encode `source`; a recurrence needs no slots, so `length` is not looked at."""
        del length
        encoded, config, batch = self.encode(source), self.config, source.shape[0]
        fed = {"additive": encoded.outputs.shape[-1], "interactive": self._width(config.decoder_layers - 1)}
        widths = [0] * (config.decoder_layers - 1) + [fed.get(config.attention, 0)]
        return Cache(tuple(Carry.empty(batch, config.hidden, width) for width in widths), encoded, source)

    def step(self, cache: Cache, tokens: Tokens) -> tuple[Float[Array, "B Q V"], Cache]:
        """Logits after `tokens` `[B, Q]`, and what the next step goes on from.

        Any Q in a row of one hypothesis; one token of each in a row of several.
        """
        shape = tokens.shape
        if shape[0] != cache.source.shape[0]:  # the cache has a row for each hypothesis
            tokens = jax.tree.map(lambda x: x.reshape(-1, 1), tokens)
        readout, layers = self._decode(cache.encoded, cache.source, tokens, cache.layers, True)
        return readout.logits().reshape(*shape, -1), Cache(layers, cache.encoded, cache.source)

    def flow(self, batch: Batch) -> list[Attends]:
        """Who reads whom, step by step, for `audit.closure`; layers are named as Linen names them."""
        config, source, target = self.config, batch.source, batch.target
        steps = [_flow(config, f"encoder_{i}", "source", source) for i in range(config.encoder_layers)]
        own, last = recurrence_mask(target, config.masking), _ends(config, target, source)
        cross = ceiling(self.masks.formula("cross"))(target, source)
        if config.start == "handed":  # of the encoder's states, whatever its outputs become
            steps += [Attends(f"decoder_{i}", "target", "source", last) for i in range(config.decoder_layers)]
        steps += handed_flow(config.handed, source)
        for i in range(config.decoder_layers):
            name = f"decoder_{i}"
            if i == config.decoder_layers - 1 and config.attention in ("additive", "interactive"):
                steps.append(Attends(name, "target", "source", cross))
            steps.append(Attends(name, "target", "target", own, residual=False))
        if config.attention == "dot":
            steps.append(Attends("attention", "target", "source", cross))
        return steps

    def _width(self, layer: int) -> int:
        """Of a decoder layer's inputs."""
        return self.config.hidden if layer else self.config.d_model

    def _decode(
        self, encoded: Encoded, source: Tokens, target: Tokens, carries: tuple, deterministic: bool
    ) -> tuple[Readout, tuple[Carry, ...]]:
        x = self.drop(self.target_embedder(target.ids), deterministic=deterministic)
        kept, seen = [], x[..., :0]
        for i, (layer, carry) in enumerate(zip(self.decoder, carries, strict=True)):
            read = None
            if layer.attention != "none":
                visible = evaluate(self.masks.formula("cross"), target, source)
                read = Read(encoded.outputs, visible[:, 0])
            x, _, seen, carry = layer(x, target, self._initial(i, encoded, source, target), carry, read)
            x = self.drop(x, deterministic=deterministic)
            kept.append(carry)
        if self.config.attention == "dot":
            seen = self.attention(x, encoded.outputs, self.masks.formula("cross"), target, source, deterministic)
        if self.config.attention != "none":
            x = self.drop(nn.tanh(self.combine(jnp.concatenate([x, seen], axis=-1))), deterministic=deterministic)
        return self.head(x), tuple(kept)

    def _initial(self, number: int, encoded: Encoded, source: Tokens, target: Tokens) -> State:
        """For each slot of the target, what its segment's decoder layer starts from."""
        if self.config.start != "handed":
            value = at_random(self.config.hidden) if self.config.start == "random" else jnp.zeros(self.config.hidden)
            same = jnp.broadcast_to(nn.tanh(value), (*target.shape, self.config.hidden))
            return same, same
        layer = min(number, len(self.encoder) - 1)
        # Of one segment a row, the first slot stands for all.
        reader = target.slots(slice(1)) if source.layout == target.layout == "rows" else target
        finals = self.encoder[layer].finals(encoded.states[layer], reader, source)
        everywhere = lambda x: jnp.broadcast_to(x, (*target.shape, x.shape[-1]))
        if not self.config.bidirectional:
            return jax.tree.map(everywhere, finals[0])
        join = lambda which: jnp.concatenate([final[which] for final in finals], axis=-1)
        hidden, cell = self.bridge[number]
        return everywhere(nn.tanh(hidden(join(0)))), everywhere(cell(join(1)))


class FinalState(nn.Module):
    """At every slot, the state that its segment ended with."""

    config: RecurrentConfig

    def __call__(self, x: Float[Array, "B T E"], tokens: Tokens) -> Float[Array, "B T E"]:
        """`x` are the hidden states, those of both directions side by side."""
        finals = [
            final_states(part, tokens, tokens, self.config.masking, first=number == 1)
            for number, part in enumerate(jnp.split(x, 1 + self.config.bidirectional, axis=-1))
        ]
        return jnp.concatenate(finals, axis=-1)


class RecurrentStack(nn.Module):
    """LSTM layers over one stream: a tagger, a causal language model, or a classifier by the final state.

    Attributes:
      config: sizes and switches; `encoder_layers` are stacked over a source, `decoder_layers` over a target.
      vocabulary: number of ids that are read; 0 is padding.
      labels: number of ids that are predicted.
      stream: the part of a batch that is read.
      pooled: whether there is one label a segment, which the final state predicts.
    """

    config: RecurrentConfig
    vocabulary: int
    labels: int
    stream: Literal["source", "target"] = "source"
    pooled: bool = False
    scores = False

    def setup(self):
        config = self.config
        self.embedder = Embedder(self.vocabulary, config.d_model, jnp.dtype("float32"))
        self.layers = [RecurrentLayer(config) for _ in range(self._depth)]
        if self.pooled:
            self.final = FinalState(config)
        self.head = Head(self.labels)
        self.drop = Dropout(config.dropout)

    @property
    def _depth(self) -> int:
        return self.config.encoder_layers if self.stream == "source" else self.config.decoder_layers

    def __call__(self, batch: Batch, deterministic: bool = True) -> Float[Array, "B T V"]:
        """Logits of every label."""
        return self.readout(batch, deterministic).logits()

    def readout(self, batch: Batch, deterministic: bool = True) -> Readout:
        """The same logits, not built yet."""
        tokens = getattr(batch, self.stream)
        x = self.drop(self.embedder(tokens.ids), deterministic=deterministic)
        for layer in self.layers:
            x = self.drop(layer(x, tokens)[0], deterministic=deterministic)
        return self.head(self.final(x, tokens) if self.pooled else x)

    def flow(self, batch: Batch) -> list[Attends]:
        """Who reads whom, step by step, for `audit.closure`; layers are named as Linen names them."""
        tokens = getattr(batch, self.stream)
        steps = [_flow(self.config, f"layers_{i}", self.stream, tokens) for i in range(self._depth)]
        if self.pooled:
            steps.append(Attends("final", self.stream, self.stream, _ends(self.config, tokens, tokens), False))
        return steps
