"""A model beside the flow it declares: what the audit needs of our models."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask import audit
from flaxmask.models.recurrent import RecurrentEncoderDecoder, RecurrentStack
from flaxmask.models.stack import Stack
from flaxmask.models.transformer import Transformer
from flaxmask.tokens import Array, Batch, Tokens

EncoderDecoder = Transformer | RecurrentEncoderDecoder
Model = EncoderDecoder | Stack | RecurrentStack


@dataclasses.dataclass(frozen=True)
class Audited:
    """A model, its parameters, and a batch to audit them on.

    Attributes:
      model: with a `flow`.
      params: of the model.
      batch: to be audited on.
      answers: how many slots behind a label that very token is read, see `Task`; None where it is not.
    """

    model: Model
    params: Any
    batch: Batch
    answers: int | None = None

    @property
    def inputs(self) -> dict[str, Array]:
        """Ids of what the batch has: a source, a target or both."""
        sides = {name: getattr(self.batch, name) for name in ("source", "target")}
        return {name: np.asarray(tokens.ids) for name, tokens in sides.items() if tokens is not None}

    @property
    def output(self) -> str:
        """The input whose positions the logits follow."""
        return [*self.inputs][-1]

    def check(self, flow: Sequence[audit.Attends] | None = None) -> audit.AuditReport:
        """Every edge, against the model's own flow or another; leaks are named by layer.

        Whatever the masks say, a real token may depend on nothing but real tokens of its own example, and the logits
        of a label on nothing that gives it away: masks that let packed examples, padding or the answer be read are
        shown to leak. Outputs at padding, which count nowhere, may be anything but NaN.
        """
        steps = self.model.flow(self.batch) if flow is None else flow
        readers = {step.layer: step.reader for step in steps}
        layers = {
            layer: self._allowed(readers[layer], reach) for layer, reach in audit.by_layer(steps, self.inputs).items()
        }
        how = self.model, self.params, self.batch
        return audit.check(
            functools.partial(_logits, *how),
            self.inputs,
            self._allowed(self.output, audit.closure(steps, self.inputs, self.output)),
            vocabulary=self._vocabulary(),
            layers=audit.Layers(audit.linen_trace(functools.partial(_traced, *how), layers), layers),
        )

    def _vocabulary(self) -> dict[str, int]:
        if isinstance(self.model, EncoderDecoder):
            return {"source": self.model.source_vocabulary, "target": self.model.target_vocabulary}
        return {self.model.stream: self.model.vocabulary}

    def _allowed(self, reader: str, reach: audit.Reach) -> audit.Reach:
        """What positions of a stream may depend on; of padding nothing is asked, since nobody reads it."""
        segments = {name: np.asarray(getattr(self.batch, name).segments) for name in reach}
        own = segments[reader][..., None]
        allowed = {name: (own == segments[name][:, None]) for name in reach}
        if reader == "target" and self.answers is not None:
            target = self.batch.target
            slots = np.arange(target.shape[1])
            before = slots < slots[:, None] + self.answers
            # A prefix gives nothing away.
            allowed["target"] &= before if target.prefix is None else before | np.asarray(target.prefix)[:, None]
        return {name: seen & allowed[name] & (own > 0) for name, seen in reach.items()}

    def flat(self) -> "Audited":
        """The same model with flat scores; itself where it has none."""
        if not self.model.scores:
            return self
        return dataclasses.replace(self, params=audit.flat_scores(self.params))

    def drift(
        self, examples: Sequence[audit.Example], decode: Callable[..., Any] | None = None, **how: Any
    ) -> audit.Drift:
        """Of examples with the ids of every input; `decode(**tokens)` gives what is written for each row."""
        return audit.drift(
            functools.partial(_answer, self.model, self.params),
            examples,
            self.output,
            decode=decode,
            **how,
        )


def _with_ids(batch: Batch, ids: dict[str, Array]) -> Batch:
    """The batch with other ids, and everything else held fixed."""
    return Batch(**{name: dataclasses.replace(getattr(batch, name), ids=new) for name, new in ids.items()})


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: Model, params: Any, batch: Batch, **ids: Array) -> Array:
    logits: Any = model.apply(params, _with_ids(batch, ids))
    # What stands at padding nobody reads; but a NaN would reach a loss through a weight of 0.
    real = (batch.source if batch.target is None else batch.target).real[..., None]
    return jnp.where(real | jnp.isnan(logits), logits, 0.0)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("capture_intermediates", "mutable"))
def _traced(
    model: Model, params: Any, batch: Batch, capture_intermediates: Any = False, mutable: Any = False, **ids: Array
) -> Any:
    how = {"capture_intermediates": capture_intermediates, "mutable": mutable}
    return model.apply(params, _with_ids(batch, ids), **how)


@functools.partial(jax.jit, static_argnums=0)
def _answer(model: Model, params: Any, **tokens: Tokens) -> Array:
    return model.apply(params, Batch(**tokens))  # pyright: ignore[reportReturnType]
