"""What a model is made of. No jax here: configurations are read and refused before it starts."""

import dataclasses
from typing import Literal

from flaxmask import masks


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    """Who may attend to whom; the same formulas in every layout, in training and in decoding."""

    encoder: str = "segment"
    """Source positions to source positions."""
    decoder: str = "causal & segment"
    """Target positions to target positions."""
    cross: str = "segment"
    """Target positions to source positions."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            masks.parse(getattr(self, field.name))

    def formula(self, name: str) -> masks.Mask:
        """The formula of "encoder", "decoder" or "cross"."""
        return masks.parse(getattr(self, name))


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """A Transformer encoder-decoder (Vaswani et al. 2017)."""

    d_model: int = 512
    """Width of the residual stream."""
    d_ffn: int = 2048
    """Width inside the feed-forward blocks."""
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    dropout: float = 0.1
    """On embeddings and on the output of every sub-layer."""
    attention_dropout: float = 0.0
    """On the attention weights."""
    norm: Literal["pre", "post"] = "pre"
    """LayerNorm before each sub-layer, or after the residual sum as in the original."""
    positions: Literal["sinusoidal", "learned", "none", "alibi", "relative", "single"] = "sinusoidal"
    """sinusoidal (Vaswani et al. 2017), learned: added to the embeddings. none. alibi (Press et al. 2022), relative
    (Raffel et al. 2020): biases of the self-attention's scores. single: sin(10000 · pos / d_model), one number for all
    channels, to the letter of a source."""
    max_positions: int = 512
    """Rows of the table of learned positions."""
    handed: Literal["all", "last", "mean", "first"] = "all"
    """What of the encoder's output the decoder may read: all positions, or one vector."""
    start: Literal["token", "handed", "random"] = "token"
    """What the decoder starts from beside the beginning mark: nothing, the mean of the encoder's output, or always the
    same random vector."""
    share_embeddings: bool = False
    """One embedding for source and target; the vocabularies must be one."""
    stack: Literal["side", "both"] = "side"
    """Layers of a model of one stream: those of its side, or as many as both sides have together, wider inside their
    feed-forward blocks by d_model, which weighs what the cross-attention does that it has not."""
    share_layers: bool = False
    """The encoder's layers are the decoder's, without their cross-attention (Raffel et al. 2020, section 3.2.2)."""
    tie_logits: bool = True
    """The target embedding, transposed, as the output projection."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the computation; parameters, softmax and loss stay float32."""
    mask_form: (
        Literal[
            "minus_infinity",
            "least",
            "added_1e9",
            "added_1e4",
            "multiplied",
            "renormalised",
            "literal",
            "memory",
            "none",
        ]
        | None
    ) = None
    """Another form of applying the masks, for comparison; None hides with −∞, and what sees nothing gets zeros."""
    pooling: Literal["first", "mean", "query"] = "first"
    """Of a classifier: the first position as it leaves the layers, the masked mean, or one more attention whose only
    query is the first position."""
    attention: Literal["reference", "xla", "blockwise", "splash", "cudnn"] | None = None
    """Implementation of attention; None takes the best that supports each call."""

    def __post_init__(self):
        for name in ("d_model", "d_ffn", "heads", "encoder_layers", "decoder_layers", "max_positions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.d_model % self.heads:
            raise ValueError(f"heads: expected a divisor of d_model {self.d_model}, got {self.heads}")
        if self.share_layers and self.encoder_layers != self.decoder_layers:
            raise ValueError(
                f"share_layers: expected as many layers on both sides, got {self.encoder_layers} and "
                f"{self.decoder_layers}"
            )
        if self.mask_form and self.attention:
            raise ValueError(f"mask_form={self.mask_form} is an implementation of its own: leave attention at None")
        for name in ("dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}: expected 0 ≤ rate < 1, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class RecurrentConfig:
    """LSTMs (Hochreiter & Schmidhuber 1997): an encoder-decoder, or one stack over one stream."""

    d_model: int = 256
    """Width of the embeddings."""
    hidden: int = 128
    """Width of a state, of each direction."""
    encoder_layers: int = 1
    decoder_layers: int = 1
    bidirectional: bool = False
    """Whether the encoder, or the stack, also reads from the end."""
    attention: Literal["none", "additive", "dot", "interactive"] = "none"
    """What the decoder reads of the source beside the final state. additive: Bahdanau et al. 2015. dot: Luong et al.
    2015, global, through projections. interactive: gates σ(W_a·[h;c]), and a decoder input tanh(W_di·[h;c]) + b_di."""
    gate: Literal["sigmoid", "softmax"] = "sigmoid"
    """Of interactive attention: gates of their own, or for each channel weights over the positions that may be read; of
    scores that are sums, as these are, the state's part cancels in a softmax."""
    input_bias: Literal["outside", "inside"] = "outside"
    """Where the bias of interactive attention's decoder input stands: tanh(W·[h;c]) + b, or tanh(W·[h;c] + b)."""
    handed: Literal["all", "last", "mean", "first"] = "all"
    """What of the encoder's outputs the decoder's attention may read: all positions, or one vector."""
    start: Literal["handed", "zero", "random"] = "handed"
    """What the decoder's state starts from: the encoder's final state, zeros, or always the same random numbers."""
    masking: Literal["hold", "inputs", "none"] = "hold"
    """What padding does. hold: the state passes it unchanged. inputs: its inputs are multiplied by 0, and the state
    goes on. none: it is read like any token."""
    dropout: float = 0.0
    """On embeddings and on the outputs of every layer."""

    def __post_init__(self):
        for name in ("d_model", "hidden", "encoder_layers", "decoder_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.attention != "interactive" and (self.gate, self.input_bias) != ("sigmoid", "outside"):
            raise ValueError(f"gate and input_bias are for attention=interactive, not for {self.attention}")
        if self.attention == "none" and self.handed != "all":
            raise ValueError(f"handed={self.handed}: without attention nothing of the outputs is read")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout: expected 0 ≤ rate < 1, got {self.dropout}")
