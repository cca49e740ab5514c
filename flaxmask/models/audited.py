"""A model beside the flow it declares: what the audit needs of our models."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from flaxmask import audit
from flaxmask.models.transformer import Transformer
from flaxmask.tokens import Array, Batch, Tokens


@dataclasses.dataclass(frozen=True)
class Audited:
    """A Transformer, its parameters, and a batch to audit them on."""

    model: Transformer
    params: Any
    batch: Batch

    @property
    def inputs(self) -> dict[str, Array]:
        """Ids of both sides."""
        return {"source": np.asarray(self.batch.source.ids), "target": np.asarray(self.batch.target.ids)}

    def check(self, flow: Sequence[audit.Attends] | None = None) -> audit.AuditReport:
        """Every edge, against the model's own flow or another; leaks are named by layer.

        Whatever the masks say, a real token may depend on nothing but real tokens of its own example: masks that let
        packed examples, or padding, be read are shown to leak.
        """
        steps = self.model.flow(self.batch) if flow is None else flow
        readers = {step.layer: step.reader for step in steps}
        layers = {
            layer: self._within_examples(readers[layer], reach)
            for layer, reach in audit.by_layer(steps, self.inputs).items()
        }
        how = self.model, self.params, self.batch
        return audit.check(
            functools.partial(_logits, *how),
            self.inputs,
            self._within_examples("target", audit.closure(steps, self.inputs, "target")),
            vocabulary={"source": self.model.source_vocabulary, "target": self.model.target_vocabulary},
            layers=audit.Layers(audit.linen_trace(functools.partial(_traced, *how), layers), layers),
        )

    def _within_examples(self, reader: str, reach: audit.Reach) -> audit.Reach:
        """What positions of a stream may depend on; padding on whatever the masks say."""
        segments = {name: np.asarray(getattr(self.batch, name).segments) for name in reach}
        own = segments[reader][..., None]
        return {name: seen & ((own == segments[name][:, None]) | (own <= 0)) for name, seen in reach.items()}

    def flat(self) -> "Audited":
        """The same model with flat scores."""
        return dataclasses.replace(self, params=audit.flat_scores(self.params))

    def drift(self, examples: Sequence[audit.Example], decode: Callable[[Tokens], Any], **how: Any) -> audit.Drift:
        """Of examples with ids of "source" and "target"; `decode(source)` gives what is written for each row."""
        return audit.drift(
            functools.partial(_answer, self.model, self.params),
            examples,
            "target",
            decode=lambda source, target: decode(source),
            **how,
        )


def _with_ids(batch: Batch, source: Array, target: Array) -> Batch:
    """The batch with other ids, and everything else held fixed."""
    put = lambda tokens, ids: dataclasses.replace(tokens, ids=ids)
    return Batch(put(batch.source, source), put(batch.target, target))


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: Transformer, params: Any, batch: Batch, source: Array, target: Array) -> Array:
    return model.apply(params, _with_ids(batch, source, target))  # pyright: ignore[reportReturnType]


@functools.partial(jax.jit, static_argnums=0, static_argnames=("capture_intermediates", "mutable"))
def _traced(model: Transformer, params: Any, batch: Batch, source: Array, target: Array, **how: Any) -> Any:
    return model.apply(params, _with_ids(batch, source, target), **how)


@functools.partial(jax.jit, static_argnums=0)
def _answer(model: Transformer, params: Any, source: Tokens, target: Tokens) -> Array:
    return model.apply(params, Batch(source, target))  # pyright: ignore[reportReturnType]
