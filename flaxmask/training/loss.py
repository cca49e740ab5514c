"""The loss as sums: divided once, at the end, by whoever has all of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from flaxmask.products import einsum32
from flaxmask.readout import Readout
from flaxmask.tokens import PADDING, Array

CELLS = 2**22
"""Logits that are held at once, at most: 16 MiB, which a processor's caches hold."""


def cross_entropy(
    scores: Float[Array, "B T V"] | Readout,
    labels: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    label_smoothing: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Total weighted cross-entropy in nats, and the total weight; see `token_losses`.

    Of a `Readout` the logits are built a part at a time, and never again: the gradients with respect to features and
    matrix are computed beside the loss, of the logits that it has in hand.
    """
    if isinstance(scores, Readout):
        total: Any = _of_readout(label_smoothing, scores, labels, weights)
    else:
        total = jnp.sum(token_losses(scores, labels, weights, label_smoothing))
    return total, jnp.sum(weights)


def token_losses(
    logits: Float[Array, "*axes V"],
    labels: Int[Array, "*axes"],
    weights: Float[Array, "*axes"],
    label_smoothing: float = 0.0,
) -> Float[Array, "*axes"]:
    """Weighted cross-entropy of each label in nats.

    With smoothing ε the target is 1 - ε on the label and ε spread evenly over the ids that can be predicted: all
    but the pad, whose logit is -inf.
    """
    logits = logits.astype(jnp.float32)
    return _losses(logits, jax.nn.logsumexp(logits, axis=-1), labels, weights, label_smoothing)


def _losses(logits: Array, normalizer: Array, labels: Array, weights: Array, label_smoothing: float) -> Array:
    """`token_losses` where the logarithm of the sum of exponentials is known."""
    # Padding's label is the pad, whose logit is -inf: 0 · inf would be NaN, so it is replaced before weighting.
    real = weights > 0.0
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    loss = normalizer - jnp.where(real, chosen, 0.0)
    if label_smoothing:
        predicted = (jnp.arange(logits.shape[-1]) != PADDING)[(None,) * (logits.ndim - 1)]
        mean = jnp.sum(jnp.where(predicted, logits, 0.0), axis=-1) / jnp.sum(predicted)
        loss = loss - label_smoothing * (mean - jnp.where(real, chosen, 0.0))
    return loss * weights


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _of_readout(smoothing: float, readout: Readout, labels: Array, weights: Array) -> Array:
    """The sum of `token_losses` of a readout's logits."""
    return _with_gradients(smoothing, readout, labels, weights)[0]


def _with_gradients(smoothing: float, readout: Readout, labels: Array, weights: Array) -> tuple[Array, Readout]:
    """The sum, and its gradients with respect to the readout."""
    features, matrix, bias = readout
    rows, length, _ = features.shape
    most = max(1, min(length, CELLS // (rows * len(matrix))))
    # Of the larger parts, those that leave the fewest empty slots at the end.
    slots = min(range(most, most // 2, -1), key=lambda slots: -length % slots)
    parts = -(-length // slots)

    def cut(x: Array) -> Array:
        """Some slots of every row a part, since rows may lie on several devices: [parts, rows · slots, ...]."""
        x = jnp.pad(x, ((0, 0), (0, parts * slots - length), *((0, 0) for _ in x.shape[2:])))
        x = x.reshape(rows, parts, slots, *x.shape[2:])
        return jnp.moveaxis(x, 1, 0).reshape(parts, rows * slots, *x.shape[3:])

    def add(sums: Any, part: tuple[Array, Array, Array]) -> tuple[Any, Array]:
        loss, of = _part(smoothing, Readout(part[0], matrix, bias), *part[1:])
        return jax.tree.map(jnp.add, sums, (loss, of.matrix, of.bias)), of.features

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), (jnp.zeros(()), matrix, bias))
    (total, *sums), of_features = jax.lax.scan(add, zeros, (cut(features), cut(labels), cut(weights)))
    of_features = jnp.moveaxis(of_features.reshape(parts, rows, slots, -1), 0, 1).reshape(rows, parts * slots, -1)
    found = Readout(of_features[:, :length], *sums)
    return total, jax.tree.map(lambda gradient, x: gradient.astype(x.dtype), found, readout)


def _part(smoothing: float, readout: Readout, labels: Array, weights: Array) -> tuple[Array, Readout]:
    """The same of some positions, `[N, D]`."""
    logits = readout.logits()
    ids = jnp.arange(logits.shape[-1], dtype=jnp.int32)[None]
    target = jnp.where(ids == labels[:, None], 1.0 - smoothing, 0.0)
    target = target + jnp.where(ids == PADDING, 0.0, smoothing / (logits.shape[-1] - 1))
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    of_logits = weights[:, None] * (jnp.exp(logits - normalizer[:, None]) - target)
    narrow = of_logits.astype(readout.features.dtype)
    of_features = einsum32("NV,VD->ND", narrow, readout.matrix)
    of_matrix = einsum32("NV,ND->VD", narrow, readout.features)
    of_bias = None if readout.bias is None else jnp.sum(of_logits, axis=0)
    return jnp.sum(_losses(logits, normalizer, labels, weights, smoothing)), Readout(of_features, of_matrix, of_bias)


def _backward(smoothing: float, gradients: Readout, cotangent: Array) -> tuple[Readout, None, None]:
    del smoothing
    return jax.tree.map(lambda x: (x * cotangent).astype(x.dtype), gradients), None, None


_of_readout.defvjp(_with_gradients, _backward)
