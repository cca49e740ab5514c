"""A two-layer encoder-decoder in plain jax.numpy, right unless it is told how to be wrong."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask import Tokens, audit, masks

VOCABULARY, WIDTH, HEADS, LAYERS = 11, 8, 2, 2


def tokens(*rows) -> Tokens:
    """A row for each list of segments; ids are anything, 0 on padding."""
    segments = np.array(rows, np.int32)
    rng = np.random.default_rng(len(rows))
    positions = np.zeros_like(segments)
    for row, column in np.ndindex(segments.shape):
        same = column and segments[row, column] == segments[row, column - 1]
        positions[row, column] = positions[row, column - 1] + 1 if same else 0
    ids = np.where(segments > 0, rng.integers(1, VOCABULARY, segments.shape), 0).astype(np.int32)
    return Tokens(ids, segments, positions)


SOURCE = tokens([1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 2, 2, 0], [0, 0, 0, 0, 0])
TARGET = tokens([1, 1, 1, 1], [1, 1, 0, 0], [1, 2, 2, 0], [1, 1, 1, 0])
INPUTS = {"source": SOURCE.ids, "target": TARGET.ids}
SEGMENT, CAUSAL = masks.segment, masks.causal & masks.segment
RIGHT = {
    "encoder": np.asarray(SEGMENT(SOURCE, SOURCE)),
    "decoder": np.asarray(CAUSAL(TARGET, TARGET)),
    "cross": np.asarray(SEGMENT(TARGET, SOURCE)),
}


def flow(**seen) -> list[audit.Attends]:
    """The steps, with other masks where given."""
    seen = RIGHT | seen
    steps = [audit.Attends(f"encoder_{i}", "source", "source", seen["encoder"]) for i in range(LAYERS)]
    for i in range(LAYERS):
        steps.append(audit.Attends(f"decoder_{i}", "target", "target", seen["decoder"]))
        steps.append(audit.Attends(f"decoder_{i}", "target", "source", seen["cross"]))
    return steps


def reach(**seen):
    """The closure of `flow`."""
    return audit.closure(flow(**seen), INPUTS, "target")


def hide(scores, mask):
    """The right form: −∞ before the softmax, zeros where nothing is seen."""
    sees = mask.any(axis=-1, keepdims=True)
    weights = jax.nn.softmax(jnp.where(mask, scores, jnp.where(sees, -jnp.inf, 0.0)), axis=-1)
    return jnp.where(sees, weights, 0.0)


@functools.cache
def _weights(seed: int):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
    blocks = [{name: draw(WIDTH, WIDTH) for name in ("q", "k", "v", "o", "ffn")} for _ in range(3 * LAYERS)]
    return {"embed": draw(VOCABULARY, WIDTH) * 3, "blocks": blocks}


def _attend(block, x, memory, mask, form, dtype):
    split = lambda y: y.reshape(*y.shape[:2], HEADS, -1).transpose(0, 2, 1, 3).astype(dtype)
    q, k, v = split(x @ block["q"]), split(memory @ block["k"]), split(memory @ block["v"])
    weights = form(q @ k.mT / np.sqrt(WIDTH / HEADS).astype(dtype), mask)
    out = (weights @ v).astype(jnp.float32).transpose(0, 2, 1, 3).reshape(*x.shape)
    return out @ block["o"]


@functools.partial(jax.jit, static_argnames=("form", "dtype"))
def streams(source, target, seen, form=hide, dtype=jnp.float32) -> dict[str, Any]:
    """Each layer's stream, and the logits.

    Args:
      source: ids.
      target: ids.
      seen: the masks, arguments so that all of them share a program; "last" is of the decoder's last layer.
      form: how scores and a mask become weights.
      dtype: of the attention.
    """
    weights = _weights(0)
    place = lambda t: jnp.sin(jnp.asarray(t.positions)[..., None] * 2.0 ** -np.arange(WIDTH)[None, None])
    x, y = (jnp.asarray(weights["embed"])[ids] + place(t) for ids, t in ((source, SOURCE), (target, TARGET)))
    blocks, found = iter(weights["blocks"]), {}

    def step(stream, memory, mask):
        block = next(blocks)
        stream = stream + _attend(block, stream, memory, mask, form, dtype)
        return stream + jnp.tanh(stream @ block["ffn"])

    for i in range(LAYERS):
        x = found[f"encoder_{i}"] = step(x, x, seen["encoder"])
    for i in range(LAYERS):
        y = step(y, y, seen["decoder" if i < LAYERS - 1 else "last"])
        y = found[f"decoder_{i}"] = step(y, x, seen["cross"])
    return found | {"logits": y @ weights["embed"].T}


def check(form=hide, dtype=jnp.float32, **seen) -> audit.AuditReport:
    """Audit the specimen under masks that are not `RIGHT` against those that are."""
    masks_ = {"last": seen.get("decoder", RIGHT["decoder"])} | RIGHT | seen
    given = {name: jnp.broadcast_to(mask, (*mask.shape[:1], HEADS, *mask.shape[2:])) for name, mask in masks_.items()}
    trace = functools.partial(streams, seen=given, form=form, dtype=dtype)
    layers = audit.Layers(trace, audit.by_layer(flow(), INPUTS))
    fn = lambda source, target: trace(source, target)["logits"]
    return audit.check(fn, INPUTS, reach(), vocabulary=VOCABULARY, layers=layers)


def edges(report: audit.AuditReport, name: str) -> np.ndarray:
    """Leaks within rows, bool `[B, T_out, T_in]`."""
    found = np.zeros_like(report.declared[name])
    for leak in report.leaks:
        if leak.input == name and leak.input_row == leak.output_row:
            found[leak.output_row, leak.output_position, leak.input_position] = True
    return found
