"""What padding may do to the loss and to gradients: nothing."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask.tokens import Batch


@dataclasses.dataclass(frozen=True)
class PaddingReport:
    """What was found wrong, one line each; nothing if `ok`."""

    findings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether padding is nothing to the loss."""
        return not self.findings

    def __str__(self) -> str:
        verdict = "nothing to loss and gradients" if self.ok else f"{len(self.findings)} findings"
        return "\n".join([f"padding: {verdict}", *(f"  {one}" for one in self.findings)])


def padding(
    fn: Callable[[Any, Batch], tuple[Any, Any]],
    params: Any,
    alone: Sequence[Batch],
    packed: Batch,
    pad_rows: Callable[[Any], Any],
    rtol: float = 1e-5,
) -> PaddingReport:
    """Check sums of a loss on examples alone and on the same examples in rows with padding.

    That the packed total is the sum of the examples' totals, and its count theirs; that ids and labels on padding move
    neither; and that the embedding of padding gets no gradient at all.

    Args:
      fn: `fn(params, batch)` gives the total and the count that it is divided by.
      params: a pytree.
      alone: a batch for each example.
      packed: all of them, with padding.
      pad_rows: of the parameters (or their gradients), the embeddings of padding.
      rtol: relative tolerance of the total's comparison.
    """
    findings = []
    (total, count), gradient = jax.value_and_grad(fn, has_aux=True)(params, packed)
    sums = [fn(params, batch) for batch in alone]
    wanted, wanted_count = (float(sum(float(s[i]) for s in sums)) for i in (0, 1))
    real = wanted_count if packed.target is None else int(np.asarray(packed.target.real).sum())
    if not np.isclose(float(total), wanted, rtol=rtol):
        findings.append(f"the loss of the packed rows is {float(total):.6g}, the sum of its examples' {wanted:.6g}")
    if float(count) != wanted_count or float(count) != real:
        findings.append(f"divided by {float(count):g}: {real:g} target tokens are real, {wanted_count:g} alone")
    # Two calls of one program: that of the gradients may round its total otherwise.
    still, moved = fn(params, packed), fn(params, _other_padding(packed))
    for name, before, after in (("total", still[0], moved[0]), ("count", still[1], moved[1])):
        if float(before) != float(after) and not (np.isnan(before) and np.isnan(after)):
            findings.append(f"ids and labels on padding move the {name} from {float(before):.6g} to {float(after):.6g}")
    for path, rows in jax.tree_util.tree_leaves_with_path(pad_rows(gradient)):
        if bool(jnp.any(rows != 0)):
            name = jax.tree_util.keystr(path) or "padding"
            findings.append(f"the embedding of {name} gets a gradient of up to {float(jnp.abs(rows).max()):.2g}")
    return PaddingReport(tuple(findings))


def _other_padding(batch: Batch) -> Batch:
    """Another id, 1, wherever padding stands, in inputs and labels; weights and segments stay."""
    swap = lambda ids, tokens: np.where(np.asarray(tokens.real), ids, 1).astype(np.int32)
    source = batch.source and dataclasses.replace(batch.source, ids=swap(batch.source.ids, batch.source))
    if batch.target is None:
        return dataclasses.replace(batch, source=source)
    target = dataclasses.replace(batch.target, ids=swap(batch.target.ids, batch.target))
    return dataclasses.replace(batch, source=source, target=target, labels=swap(batch.labels, batch.target))
