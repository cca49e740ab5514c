"""Pieces of the sources as they stand there, each beside the reading that was meant; small enough to be read at once.

A specimen is a function of ids `[B, T]` and of which of them are real, without training: its weights are drawn once.
What it may read is declared, and the audit says what it reads. The numbers behind their names are the sources' files.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask import audit
from flaxmask.attention import forms, interactive
from flaxmask.models.layers import sinusoid
from flaxmask.probe import Probed

VOCABULARY, WIDTH, HEADS = 11, 8, 2
LENGTHS = (6, 4)
LENGTH = max(LENGTHS)
Reading = Callable[[Any, Any], Any]
"""Ids and bool `[B, T]`, both, to floats `[B, T, ...]`."""
Visible = Callable[[np.ndarray], np.ndarray]
"""Which are real to bool `[B, T_out, T_in]`."""


class Specimen(NamedTuple):
    """A piece of a source.

    Attributes:
      source: its file.
      says: what it does, in our words.
      literal: as it is written.
      mended: as it was meant.
      visible: what both may read.
      left: whether rows are padded before the examples.
    """

    source: str
    says: str
    literal: Reading
    mended: Reading
    visible: Visible
    left: bool = False


@functools.cache
def _drawn(name: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng([ord(letter) for letter in name])
    return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)


def _embedded(ids: Any) -> Any:
    return jnp.asarray(_drawn("embedding", VOCABULARY, WIDTH))[ids] * 3.0


def _dense(name: str, x: Any, width: int = WIDTH) -> Any:
    return x @ _drawn(name, x.shape[-1], width)


# What may be read.


def _pairs(real: np.ndarray) -> np.ndarray:
    return real[:, :, None] & real[:, None, :]


def _causal(real: np.ndarray) -> np.ndarray:
    return _pairs(real) & np.tri(real.shape[1], dtype=bool)[None]


def _itself(real: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.eye(real.shape[1], dtype=bool), (len(real), real.shape[1], real.shape[1]))


def _real_keys(real: np.ndarray) -> np.ndarray:
    return np.broadcast_to(real[:, None, :], (*real.shape, real.shape[1]))


# 000: the recurrent encoder-decoder.


def _recurrent(inputs: Any) -> Any:
    """All states of a plain recurrence."""
    into, over = _drawn("into", WIDTH, WIDTH), _drawn("over", WIDTH, WIDTH)

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        state = jnp.tanh(x @ into + state @ over)
        return state, state

    zeros = jnp.zeros((inputs.shape[0], WIDTH))
    return jax.lax.scan(step, zeros, inputs.swapaxes(0, 1))[1].swapaxes(0, 1)


def mask_never_used(ids: Any, real: Any) -> Any:
    """The masked input of the decoder is computed, and the input without a mask is read."""
    x = _embedded(ids)
    masked = x * real[..., None]
    del masked
    return _recurrent(x)


def mask_used(ids: Any, real: Any) -> Any:
    """The masked one is read."""
    return _recurrent(_embedded(ids) * real[..., None])


def mask_on_one_hot(ids: Any, real: Any) -> Any:
    """The mask is multiplied onto one-hot ids, which a layer with a bias then embeds: a padding is the bias."""
    one_hot = jax.nn.one_hot(ids, VOCABULARY) * real[..., None]
    return _mean_of(_dense("embedding", one_hot) + _drawn("bias", 1, WIDTH)[None])


def mask_on_embedding(ids: Any, real: Any) -> Any:
    """The mask is multiplied onto what is embedded: a padding is zeros."""
    embedded = _dense("embedding", jax.nn.one_hot(ids, VOCABULARY)) + _drawn("bias", 1, WIDTH)[None]
    return _mean_of(embedded * real[..., None])


def _mean_of(x: Any) -> Any:
    """Each position, with the sum of all."""
    return x + jnp.sum(x, axis=1, keepdims=True)


def input_alone(ids: Any, real: Any) -> Any:
    """`tanh(decoder_input · W_di + b_di)`, as coded: without the state and without what is read."""
    return jnp.tanh(_dense("into", _embedded(ids) * real[..., None])) + _drawn("bias", 1, WIDTH)[None]


def input_of_state_and_memory(ids: Any, real: Any) -> Any:
    """`tanh(W_di · [h ; c]) + b_di`, as the text says."""
    x = _embedded(ids) * real[..., None]
    into, kernel, bias = _drawn("into", WIDTH, WIDTH), _drawn("kernel", 2 * WIDTH, WIDTH), _drawn("bias", 1, WIDTH)[0]

    def step(carry: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
        token, here = now
        state = jnp.tanh(token @ into + carry[1])
        fed = interactive.decoder_input(state, token, kernel, bias)
        carry = jax.tree.map(lambda new, old: jnp.where(here[:, None], new, old), (state, fed), carry)
        return carry, carry[1]

    zeros = jnp.zeros((x.shape[0], WIDTH))
    return jax.lax.scan(step, (zeros, zeros), (x.swapaxes(0, 1), jnp.asarray(real).T))[1].swapaxes(0, 1)


# 001: the input of a Transformer's decoder.


def one_number(positions: Any, width: int) -> Any:
    """`sin(10000 · pos / d_model)`: one number for all channels."""
    return jnp.broadcast_to(jnp.sin(10_000.0 * positions / width)[..., None], (*positions.shape, width))


def told_apart(encode: Callable[[Any, int], Any], length: int = 64, width: int = 512) -> float:
    """The least distance between the encodings of two positions, in terms of the largest."""
    x = np.asarray(encode(jnp.arange(length, dtype=jnp.int32)[None], width), np.float64)[0]
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return float(apart[~np.eye(length, dtype=bool)].min() / apart.max())


POSITIONS = {"one number for all channels": one_number, "sines of many wavelengths": sinusoid}


def _attended(ids: Any, weigh: Callable[[Any], Any], split: Callable[[Any], Any] | None = None) -> Any:
    """Self-attention of embedded ids, `weigh` making weights of scores `[B, N, T, T]`."""
    x = _embedded(ids)
    heads = lambda y: y.reshape(*y.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)
    query, key, value = ((split or heads)(_dense(name, x)) for name in ("query", "key", "value"))
    out = weigh(query @ key.mT / np.sqrt(WIDTH / HEADS)) @ value
    return out.transpose(0, 2, 1, 3).reshape(x.shape)


def _right(visible: Any) -> Callable[[Any], Any]:
    """Hidden is −∞; zeros where nothing is seen."""
    return lambda scores: jnp.where(visible, forms.least(scores, visible), 0.0)


def _seen(real: Any) -> Any:
    return (real[:, :, None] & real[:, None, :])[:, None]


def polarity(ids: Any, real: Any) -> Any:
    """`create_mask` says True where a token may be read; `-1e9 × mask` hides what is True."""
    seen = forms.create_mask(real.astype(np.int32), jnp.where(real, ids + 1, 0))
    return _attended(ids, lambda scores: jax.nn.softmax(scores - 1e9 * seen, axis=-1))


def polarity_mended(ids: Any, real: Any) -> Any:
    """What is not to be read is hidden."""
    return _attended(ids, _right(forms.create_mask(real.astype(np.int32), jnp.where(real, ids + 1, 0))))


# 002: the Transformer.


def _cross(ids: Any, memory: Any) -> Any:
    query, key, value = _dense("query", _embedded(ids)), _dense("key", memory), _dense("value", memory)
    return jax.nn.softmax(query @ key.mT / np.sqrt(WIDTH), axis=-1) @ value


def one_vector(ids: Any, real: Any) -> Any:
    """The encoder hands over one vector: the softmax over its single key is 1, whatever the query and the mask."""
    return _cross(ids, jnp.broadcast_to(_drawn("memory", 5, WIDTH)[:1], (ids.shape[0], 1, WIDTH)))


def all_vectors(ids: Any, real: Any) -> Any:
    """It hands over all of them."""
    return _cross(ids, jnp.broadcast_to(_drawn("memory", 5, WIDTH), (ids.shape[0], 5, WIDTH)))


def _normalised(x: Any) -> Any:
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def softmax_layer(x: Any) -> Any:
    """`LayerNorm(Softmax(a))` as a layer's output."""
    return _normalised(jax.nn.softmax(x, axis=-1))


def residual_layer(x: Any) -> Any:
    """`LayerNorm(x + a)`."""
    return _normalised(x + x)


LAYERS = {"softmax, then norm": softmax_layer, "sum, then norm": residual_layer}


def channels_used(layer: Callable[[Any], Any], size: float) -> float:
    """The share of channels that carry a layer's output, for inputs of this deviation: (Σ y²)² / (D Σ y⁴).

    A third where channels are normally distributed, 1 / D where one of them has all.
    """
    y = np.asarray(layer(jnp.asarray(_drawn("stream", 64, 512)) * np.float32(size * 8)), np.float64)
    return float(np.mean(np.sum(y**2, axis=-1) ** 2 / (y.shape[-1] * np.sum(y**4, axis=-1))))


# 003: weights times a mask; 004: a mask of ones on what is hidden, and heads.


def not_renormalised(ids: Any, real: Any) -> Any:
    """Weights times the mask after the softmax: its sum has seen what is hidden."""
    return _attended(ids, lambda scores: forms.multiplied(scores, _seen(real)))


def hidden_first(ids: Any, real: Any) -> Any:
    """`softmax(x + mask)` on scores, 1 = hidden: what is hidden is preferred by a factor of e."""
    return _attended(ids, lambda scores: forms.literal(scores, _seen(real)))


def hidden_values(ids: Any, real: Any) -> Any:
    """`softmax(x + mask)` on what was weighted already, as the text says: over channels, and nothing is hidden."""
    out = _attended(ids, lambda scores: forms.none(scores, _seen(real)))
    return jax.nn.softmax(out + (~real)[..., None], axis=-1)


def before_softmax(ids: Any, real: Any) -> Any:
    """Hidden is −∞ before the softmax."""
    return _attended(ids, _right(_seen(real)))


def _future(real: Any) -> Any:
    return _seen(real) & np.tri(real.shape[1], dtype=bool)


def heads_by_reshape(ids: Any, real: Any) -> Any:
    """Heads split by a reshape alone: `[B, T, D]` read as `[B, N, T, H]`: a head holds some positions' channels."""
    split = lambda y: y.reshape(y.shape[0], HEADS, y.shape[1], -1)
    return _attended(ids, _right(_future(real)), split)


def heads_across_examples(ids: Any, real: Any) -> Any:
    """The same with the heads in front, `[N, B, T, H]`: a head holds some examples' positions."""
    split = lambda y: y.reshape(HEADS, y.shape[0], y.shape[1], -1).swapaxes(0, 1)
    return _attended(ids, _right(_future(real)), split)


def heads_turned(ids: Any, real: Any) -> Any:
    """Split, then turned."""
    return _attended(ids, _right(_future(real)))


SPECIMENS = {
    "masked input never used": Specimen(
        "000",
        "the decoder's input is masked, and the input without the mask is read",
        mask_never_used,
        mask_used,
        _causal,
        True,
    ),
    "mask on one-hot ids": Specimen(
        "000",
        "one-hot ids are masked before a layer with a bias, so that padding is the bias",
        mask_on_one_hot,
        mask_on_embedding,
        lambda real: _real_keys(real) | _itself(real) & real[:, None, :],
    ),
    "recurrence without state": Specimen(
        "000", "the decoder's input is made of itself alone", input_alone, input_of_state_and_memory, _causal, True
    ),
    "mask of the wrong sign": Specimen(
        "001", "what is True in a mask of visible tokens is hidden by −1e9", polarity, polarity_mended, _pairs
    ),
    "one vector for a memory": Specimen(
        "002", "a softmax over one key is 1, and the query never matters", one_vector, all_vectors, _itself
    ),
    "weights times mask": Specimen(
        "003", "masked after the softmax, not renormalised", not_renormalised, before_softmax, _pairs
    ),
    "mask added to scores": Specimen(
        "004", "1 on what is hidden is added to scores", hidden_first, before_softmax, _pairs
    ),
    "mask added to values": Specimen(
        "004", "1 on what is hidden is added to what was weighted", hidden_values, before_softmax, _pairs
    ),
    "heads by a reshape": Specimen(
        "004", "heads without a transpose: positions mix", heads_by_reshape, heads_turned, _causal
    ),
    "heads across examples": Specimen(
        "004", "heads in front without a transpose: examples mix", heads_across_examples, heads_turned, _causal
    ),
}


def given(specimen: Specimen, extra: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ids and which are real: two examples, with so many more paddings."""
    real = np.arange(LENGTH + extra)[None] < np.array(LENGTHS)[:, None]
    ids = np.zeros(real.shape, np.int32)
    ids[real] = np.random.default_rng(0).integers(1, VOCABULARY, real.sum())
    return (ids[:, ::-1].copy(), real[:, ::-1].copy()) if specimen.left else (ids, real)


def audited(specimen: Specimen, reading: Reading) -> audit.AuditReport:
    """What the audit says of one reading."""
    ids, real = given(specimen)
    fn = jax.jit(lambda ids: reading(ids, real))
    return audit.check(fn, {"ids": ids}, {"ids": np.array(specimen.visible(real))}, vocabulary=VOCABULARY)


def drift(specimen: Specimen, reading: Reading) -> float:
    """How far outputs of real tokens move as rows get three more paddings, in terms of the largest output."""
    found = [np.asarray(reading(ids, real))[real] for ids, real in (given(specimen), given(specimen, 3))]
    return float(np.abs(found[0] - found[1]).max() / np.abs(found[0]).max())


def constant(report: audit.AuditReport) -> int:
    """Outputs that no input moves, though some may."""
    may, moved = (np.any(of["ids"], axis=-1) for of in (report.declared, report.measured))
    return int((may & ~moved).sum())


def measure(subject: str, variant: str) -> Probed:
    """A row of the table: a specimen's reading, a way to encode positions, or a layer's output."""
    if subject == "positions":
        return Probed({"least_distance": told_apart(POSITIONS[variant])})
    if subject == "layer":
        return Probed({"channels_used": 100 * channels_used(LAYERS[variant], size=10.0)})
    specimen = SPECIMENS[subject]
    reading = getattr(specimen, variant)
    report = audited(specimen, reading)
    metrics = {
        "leaks": len(report.leaks),
        "dead": len(report.dead),
        "constant_outputs": constant(report),
        "batch_drift": drift(specimen, reading),
    }
    return Probed(metrics, f"{specimen.source}: {specimen.says}\n{report}\n")
