"""Forms of applying a mask that papers, tutorials and code bases use, each as it stands there.

A form turns scores and a mask into weights. `dot_product_attention` has one form alone, hidden is −∞ and a query that
sees nothing gets zeros; these are for comparison, and most leak, drift or break somewhere: the audit shows where.

    scores: float `[B, N, Q, K]`, before the softmax; visible: bool `[B, 1, Q, K]`; weights as the scores.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from flaxmask.attention.dropout import dropout
from flaxmask.masks import Mask
from flaxmask.masks.evaluate import evaluate
from flaxmask.tokens import PADDING, Array, Tokens

Scores = Float[Array, "B N Q K"]
Visible = Bool[Array, "B 1 Q K"]


def minus_infinity(scores: Scores, visible: Visible) -> Scores:
    """Hidden scores are −∞. A query that sees nothing gets NaN: there is no softmax of nothing."""
    return jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1)


def least(scores: Scores, visible: Visible) -> Scores:
    """Hidden scores are the least finite number. A query that sees nothing averages all that is hidden."""
    return jax.nn.softmax(jnp.where(visible, scores, jnp.finfo(scores.dtype).min), axis=-1)


def added(scores: Scores, visible: Visible, amount: float) -> Scores:
    """A large negative number is added to hidden scores. A query that sees nothing attends as if it saw all."""
    return jax.nn.softmax(scores + jnp.where(visible, 0.0, -amount).astype(scores.dtype), axis=-1)


def multiplied(scores: Scores, visible: Visible) -> Scores:
    """Weights times the mask, after the softmax and not renormalised: the sum still counts what is hidden."""
    return masked(jax.nn.softmax(scores, axis=-1), visible)


def masked(x: Float[Array, "*shape"], visible: Bool[Array, "*seen"]) -> Float[Array, "*shape"]:
    """Weights, or a memory, times the mask: the worked examples of the sources (systems E and B).

    >>> weights = masked(np.array([0.2, 0.3, 0.5, 0.1, 0.1]), np.array([True, True, True, True, False]))
    >>> [float(round(w, 1)) for w in weights]
    [0.2, 0.3, 0.5, 0.1, 0.0]
    >>> [float(round(w, 1)) for w in weights * np.array([2, 3, 4, 5, 6])]
    [0.4, 0.9, 2.0, 0.5, 0.0]
    >>> masked(np.array([1.0, 2.0, 3.0]), np.array([False, True, False])).tolist()  # c_1, c_2, c_3
    [0.0, 2.0, 0.0]
    """
    return x * visible


def renormalised(scores: Scores, visible: Visible) -> Scores:
    """Weights times the mask, divided by what is left of their sum. A query that sees nothing gets zeros."""
    weights = multiplied(scores, visible)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total == 0.0, 1.0, total)


def literal(scores: Scores, visible: Visible) -> Scores:
    """`softmax(x + mask)` with 1 on what is to be hidden: it is preferred, by a factor of e."""
    return jax.nn.softmax(scores + (~visible).astype(scores.dtype), axis=-1)


def memory(scores: Scores, visible: Visible) -> Scores:
    """The memory is multiplied by the mask, so hidden keys and values are zeros: score 0 in the sum, nothing to add."""
    return masked(jax.nn.softmax(masked(scores, visible), axis=-1), visible)


def none(scores: Scores, visible: Visible) -> Scores:
    """The mask is not applied at all."""
    return jax.nn.softmax(scores, axis=-1)


FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "minus_infinity": minus_infinity,
    "least": least,
    "added_1e9": lambda scores, visible: added(scores, visible, 1e9),
    "added_1e4": lambda scores, visible: added(scores, visible, 1e4),
    "multiplied": multiplied,
    "renormalised": renormalised,
    "literal": literal,
    "memory": memory,
    "none": none,
}
"""By the names that configurations use."""


def create_mask(
    encoder_mask: Int[Array, "B S"], decoder_ids: Int[Array, "B T"], pad_id: int = PADDING
) -> Bool[Array, "B 1 T S"]:
    """The mask of a cross-attention from the encoder's attention mask and the decoder's padding, True = may attend.

    What `masks.segment` gives of one example a row. Its sources go on to add `-1e9 × mask`, which takes the 1 of a
    token that may be read for one that is to be hidden: `added` reads it the right way round.

    >>> create_mask(np.array([[1, 1, 0]]), np.array([[7, 0]]))[0, 0].astype(int).tolist()
    [[1, 1, 0], [0, 0, 0]]

    Args:
      encoder_mask: 1 on real tokens of the source, 0 on padding.
      decoder_ids: of the target.
      pad_id: of its padding.
    """
    mask: Any = nn.make_attention_mask(decoder_ids != pad_id, encoder_mask > 0, jnp.logical_and, dtype=bool)
    return mask


def attention(
    form: str,
    query: Float[Array, "B Q N H"],
    key: Float[Array, "B K N H"],
    value: Float[Array, "B K N H"],
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    bias: Float[Array, "#B #N #Q #K"] | None = None,
    dropout_rate: float = 0.0,
    dropout_rng: Array | None = None,
) -> Float[Array, "B Q N H"]:
    """Attention with the mask applied in a form of `FORMS`, all in the inputs' dtype, as its users compute it."""
    seen = weights(form, query, key, mask, query_tokens, key_tokens, bias)
    return jnp.einsum("BNQK,BKNH->BQNH", dropout(seen, dropout_rate, dropout_rng).astype(value.dtype), value)


def weights(
    form: str,
    query: Float[Array, "B Q N H"],
    key: Float[Array, "B K N H"],
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    bias: Float[Array, "#B #N #Q #K"] | None = None,
) -> Float[Array, "B N Q K"]:
    """What a form makes of the scores and a mask."""
    scores = jnp.einsum("BQNH,BKNH->BNQK", query * query.shape[-1] ** -0.5, key)
    if bias is not None:
        scores = scores + bias.astype(scores.dtype)
    return FORMS[form](scores, evaluate(mask, query_tokens, key_tokens, scores))
