"""Declared flow: what may reach what, from the masks of all layers and the residual path."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Attends(NamedTuple):
    """One step of a model: positions of a stream read positions of a stream.

    Attributes:
      layer: the step's name; several steps may be of one layer.
      reader: the stream that is written.
      read: the stream that is read.
      mask: bool `[B, Q, K]` or `[B, 1, Q, K]`: which positions of `read` a position of `reader` may use. A
        recurrence is the mask of all that came before; pooling is a mask with one query.
      residual: whether the reader also keeps what it held.
    """

    layer: str
    reader: str
    read: str
    mask: Any
    residual: bool = True


Reach = dict[str, np.ndarray]
"""For each input, bool `[B, T, T_in]`: which of its positions may influence a position of a stream."""


def closure(steps: Iterable[Attends], inputs: Mapping[str, Any], output: str) -> Reach:
    """Which input positions may influence which positions of the stream `output`, after all steps.

    Every input is a stream of its own in which, at first, each position knows itself.

    >>> causal = np.tril(np.ones((1, 3, 3), bool))
    >>> closure([Attends("layer", "ids", "ids", causal)], {"ids": np.zeros((1, 3), int)}, "ids")["ids"][0].astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])

    Args:
      steps: in the order in which the model computes them.
      inputs: arrays `[B, T]`, of which only the shapes are read.
      output: a stream.

    Returns:
      For each input, bool `[B, T_out, T_in]`: what `check` takes as `declared`.

    Raises:
      ValueError: a mask does not fit its streams, or a stream is read that nobody has written.
    """
    *_, last = stages(steps, inputs)
    if output not in last[1]:
        raise ValueError(f"output: no stream is called {output!r}; there are {', '.join(last[1])}")
    return last[1][output]


def by_layer(steps: Iterable[Attends], inputs: Mapping[str, Any]) -> dict[str, Reach]:
    """The reach of each layer's own stream when the layer is done: what `Layers` takes as `declared`."""
    reached = {}
    for step, streams in stages(steps, inputs):
        if step is not None:
            reached[step.layer] = streams[step.reader]
    return reached


def stages(steps: Iterable[Attends], inputs: Mapping[str, Any]):
    """Before the first step and after each: the step, and every stream's reach."""
    shapes = {name: np.shape(ids) for name, ids in inputs.items()}
    streams: dict[str, Reach] = {}
    for name, (batch, length) in shapes.items():
        itself = np.broadcast_to(np.eye(length, dtype=bool), (batch, length, length))
        nothing = {other: np.zeros((batch, length, shape[1]), bool) for other, shape in shapes.items()}
        streams[name] = nothing | {name: itself}
    yield None, streams
    for step in steps:
        streams = streams | {step.reader: _step(step, streams)}
        yield step, streams


def _step(step: Attends, streams: Mapping[str, Reach]) -> Reach:
    mask = np.asarray(step.mask)
    mask = mask[:, 0] if mask.ndim == 4 and mask.shape[1] == 1 else mask
    if step.read not in streams:
        raise ValueError(f"{step.layer}: reads {step.read!r}, which nobody has written")
    source = streams[step.read]
    batch, keys = next(iter(source.values())).shape[:2]
    if mask.dtype != bool or mask.ndim != 3 or (mask.shape[0], mask.shape[2]) != (batch, keys):
        found = f"{mask.dtype}{list(mask.shape)}"
        raise ValueError(f"{step.layer}: mask: expected bool[{batch}, Q, {keys}] to read {step.read!r}, got {found}")
    reached = {name: np.matmul(mask, reach) for name, reach in source.items()}
    if not step.residual or step.reader not in streams:
        return reached
    own = streams[step.reader]
    length = next(iter(own.values())).shape[1]
    if length != mask.shape[1]:
        raise ValueError(f"{step.layer}: mask: expected {length} queries of {step.reader!r}, got {mask.shape[1]}")
    return {name: reach | own[name] for name, reach in reached.items()}
