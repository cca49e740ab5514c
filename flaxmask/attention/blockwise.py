"""Attention block by block in plain XLA: the `Q × K` mask and scores are never built, hidden blocks never computed.

Online softmax over key blocks (Milakov & Gimelshein 2018; Rabe & Staats 2021) with a backward pass that computes the
scores anew (Dao et al. 2022). Which blocks are hidden is proved from the bounds of positions and segments, so causal,
local and packed masks skip; memory is O(T · block).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from flaxmask.attention.call import Call, Lowering, content_refusal
from flaxmask.attention.token_blocks import padded_tokens, split_bias, take
from flaxmask.masks import Mask
from flaxmask.masks.evaluate import evaluate
from flaxmask.products import einsum32
from flaxmask.tokens import EMPTY, Array, Tokens


class Static(NamedTuple):
    """What a compiled program is made for."""

    mask: Mask
    block_q: int
    block_k: int
    dropout_rate: float
    bias: Callable | None


BLOCK_Q, BLOCK_K = 256, 512


def refuses(call: Call) -> str | None:
    """See `Implementation`."""
    return content_refusal(call, "blockwise") or _bias_refusal(call)


def _bias_refusal(call: Call) -> str | None:
    """A bias is called on the tokens of one block of one row: what it gives must be of that block."""
    if not callable(call.bias):
        return None
    q, k = min(BLOCK_Q, call.query.shape[1]), min(BLOCK_K, call.key.shape[1])
    block = lambda tokens, size: jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, size), x.dtype), tokens)
    try:
        shape = jax.eval_shape(call.bias, block(call.query_tokens, q), block(call.key_tokens, k)).shape
    except (TypeError, ValueError):
        shape = None
    if shape is None or shape[0] != 1 or shape[2] not in (1, q) or shape[3] not in (1, k):
        found = "does not apply to it" if shape is None else f"gives {list(shape)}"
        return f"the bias is asked of one row's block of {q} queries and {k} keys at a time, and {found}"
    return None


def lowering(call: Call) -> Lowering:
    """See `Lowering`."""
    batch, queries, heads, _ = call.query.shape
    q, k = min(BLOCK_Q, queries), min(BLOCK_K, call.key.shape[1])
    parts = ((str(call.mask), "evaluated on blocks of tokens that are not proved open"),)
    built = {
        "block map": 4 * batch * -(-queries // q) * -(-call.key.shape[1] // k),
        "scores of a block": 4 * heads * q * k,
    }
    return Lowering(parts, built, (q, k), 5)


def blockwise(
    query: Float[Array, "B Q N H"],
    key: Float[Array, "B K M H"],
    value: Float[Array, "B K M H"],
    mask: Mask,
    query_tokens: Tokens,
    key_tokens: Tokens,
    bias: Any,
    dropout_rate: float,
    dropout_rng: Array | None,
    block_q: int = BLOCK_Q,
    block_k: int = BLOCK_K,
) -> Float[Array, "B Q N H"]:
    """As `reference`, with products in the inputs' dtype and everything else in float32."""
    length, heads = query.shape[1], key.shape[2]
    block_q, block_k = min(block_q, length), min(block_k, key.shape[1])
    bias_function, bias_arrays = split_bias(bias, query_tokens, key_tokens, block_q, block_k)
    static = Static(mask, block_q, block_k, dropout_rate, bias_function)

    # Heads before time, and a group of query heads beside the key head that it shares.
    batch, _, count, size = query.shape
    q = _padded(query, block_q).reshape(batch, -1, heads, count // heads, size).transpose(0, 2, 3, 1, 4)
    k, v = (_padded(x, block_k).transpose(0, 2, 1, 3) for x in (key, value))
    tokens = padded_tokens(query_tokens, block_q, None), padded_tokens(key_tokens, block_k, EMPTY)
    rng = jax.random.PRNGKey(0) if dropout_rng is None else dropout_rng
    out: Any = _attend(static, q * size**-0.5, k, v, tokens, bias_arrays, rng)
    out = out.transpose(0, 3, 1, 2, 4).reshape(batch, -1, count, size)
    return out[:, :length]


def _padded(x: Array, block: int) -> Array:
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0), (0, 0)))


class _Blocks:
    """The loops over blocks: all that forward and backward share."""

    def __init__(self, static: Static, q: Array, k: Array, v: Array, tokens: tuple[Tokens, Tokens], rng: Array):
        self.static, self.q, self.k, self.v, self.rng = static, q, k, v, rng
        self.query_tokens, self.key_tokens = tokens
        self.rows, self.heads, self.groups, length, self.size = q.shape
        self.queries, self.keys = length // static.block_q, k.shape[2] // static.block_k
        self.state = static.mask.blocks(*tokens, static.block_q, static.block_k)[:, 0]
        seen = self.state > 0
        some = seen.any(axis=-1)
        self.first = jnp.where(some, jnp.argmax(seen, axis=-1), 0)
        self.last = jnp.where(some, self.keys - jnp.argmax(seen[..., ::-1], axis=-1), 0)

    def query_block(self, x: Array, row: Any, i: Any) -> Array:
        """`[M, G, q, …]` of an array `[B, M, G, Q, …]`."""
        start = (row, 0, 0, i * self.static.block_q, *[0] * (x.ndim - 4))
        return jax.lax.dynamic_slice(x, start, (1, *x.shape[1:3], self.static.block_q, *x.shape[4:]))[0]

    def key_block(self, x: Array, row: Any, j: Any) -> Array:
        """`[M, k, H]` of an array `[B, M, K, H]`."""
        start = (row, 0, j * self.static.block_k, 0)
        return jax.lax.dynamic_slice(x, start, (1, x.shape[1], self.static.block_k, x.shape[3]))[0]

    def tokens(self, row: Any, i: Any, j: Any) -> tuple[Tokens, Tokens]:
        query = take(self.query_tokens, row, i * self.static.block_q, self.static.block_q)
        return query, take(self.key_tokens, row, j * self.static.block_k, self.static.block_k)

    def bias(self, arrays: Any, row: Any, i: Any, j: Any) -> Any:
        """Of one block, broadcastable to `[M, G, q, k]`."""
        if self.static.bias is None:
            return 0.0
        bias = self.static.bias(arrays, (row, i, j), *self.tokens(row, i, j)).astype(jnp.float32)
        heads = (1, 1) if bias.shape[1] == 1 else (self.heads, self.groups)
        return bias[0].reshape(*heads, *bias.shape[2:])

    def scores(self, query: Array, arrays: Any, row: Any, i: Any, j: Any) -> Float[Array, "M G q k"]:
        """Biased scores, -inf where the mask says so; it is not asked where all is proved visible."""
        key = self.key_block(self.k, row, j)
        scores = einsum32("MGqH,MkH->MGqk", query, key)
        scores = scores + self.bias(arrays, row, i, j)

        shape = (1, 1, self.static.block_q, self.static.block_k)
        visible = jax.lax.cond(
            self.state[row, i, j] == 2,
            lambda: jnp.ones(shape, bool),
            lambda: evaluate(self.static.mask, *self.tokens(row, i, j)),
        )
        return jnp.where(visible, scores, -jnp.inf)

    def kept(self, row: Any, i: Any, j: Any) -> Any:
        """Dropout's factors of one block: 0, or 1 / (1 - rate)."""
        rate = self.static.dropout_rate
        if not rate:
            return 1.0
        place = (row * self.queries + i) * self.keys + j
        shape = (self.heads, self.groups, self.static.block_q, self.static.block_k)
        return jax.random.bernoulli(jax.random.fold_in(self.rng, place), 1 - rate, shape) / (1 - rate)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(static: Static, q, k, v, tokens, bias, rng):
    return _forward(static, q, k, v, tokens, bias, rng)[0]


def _forward(static: Static, q, k, v, tokens, bias, rng):
    """Outputs, and what the backward pass needs: each query's log of the sum of its weights."""
    blocks = _Blocks(static, q, k, v, tokens, rng)

    def one(_, task):
        row, i = task
        query = blocks.query_block(q, row, i)

        def extend(j, carry):
            def compute(carry):
                most, total, out = carry
                scores = blocks.scores(query, bias, row, i, j)
                new = jnp.maximum(most, scores.max(axis=-1))
                # As long as nothing was seen the maximum is -inf, and -inf - -inf would be NaN.
                finite = jnp.where(new > -jnp.inf, new, 0.0)
                weights = jnp.exp(scores - finite[..., None])
                old = jnp.exp(most - finite)
                total = total * old + weights.sum(axis=-1)
                weights = (weights * blocks.kept(row, i, j)).astype(v.dtype)
                value = blocks.key_block(v, row, j)
                added = einsum32("MGqk,MkH->MGqH", weights, value)
                return new, total, out * old[..., None] + added

            return jax.lax.cond(blocks.state[row, i, j] == 0, lambda carry: carry, compute, carry)

        start = jnp.full(query.shape[:3], -jnp.inf), jnp.zeros(query.shape[:3]), jnp.zeros(query.shape)
        most, total, out = jax.lax.fori_loop(blocks.first[row, i], blocks.last[row, i], extend, start)
        sees = total > 0
        safe = jnp.where(sees, total, 1.0)
        # A query that sees nothing: inf makes all its weights 0 in the backward pass.
        return None, (out / safe[..., None], jnp.where(sees, most + jnp.log(safe), jnp.inf))

    _, (out, normalizer) = jax.lax.scan(one, None, _tasks(blocks))
    join = lambda x: x.reshape(blocks.rows, blocks.queries, *x.shape[1:])
    out = jnp.moveaxis(join(out), 1, 3).reshape(q.shape).astype(v.dtype)
    normalizer = jnp.moveaxis(join(normalizer), 1, 3).reshape(q.shape[:4])
    return out, (q, k, v, tokens, bias, rng, out, normalizer)


def _tasks(blocks: _Blocks) -> tuple[Array, Array]:
    """Every row with every query block."""
    row, i = jnp.meshgrid(jnp.arange(blocks.rows), jnp.arange(blocks.queries), indexing="ij")
    return row.reshape(-1), i.reshape(-1)


def _backward(static: Static, residuals, d_out):
    q, k, v, tokens, bias, rng, out, normalizer = residuals
    blocks = _Blocks(static, q, k, v, tokens, rng)
    # Of each query: the sum of its output times the output's gradient (Dao et al. 2022, equation 4).
    delta = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)

    def one(carry, task):
        row, i = task
        query, d_block = blocks.query_block(q, row, i), blocks.query_block(d_out, row, i)
        log_total, corrections = blocks.query_block(normalizer, row, i), blocks.query_block(delta, row, i)

        def extend(j, carry):
            d_query, d_key, d_value, d_bias = carry
            key, value = blocks.key_block(k, row, j), blocks.key_block(v, row, j)

            def compute(_):
                scores = blocks.scores(query, bias, row, i, j)
                weights = jnp.exp(scores - log_total[..., None])
                kept = blocks.kept(row, i, j)
                dropped = (weights * kept).astype(v.dtype)
                to_value = einsum32("MGqH,MGqk->MHk", d_block, dropped)
                d_weights = einsum32("MGqH,MkH->MGqk", d_block, value) * kept
                d_scores = weights * (d_weights - corrections[..., None])
                low = d_scores.astype(k.dtype)
                to_query = einsum32("MGqk,MkH->MGqH", low, key)
                to_key = einsum32("MGqH,MGqk->MHk", query, low)
                return to_query, to_key, to_value, _bias_gradient(blocks, bias, row, i, j, d_scores)

            def skip(_):
                zeros = lambda x: jnp.zeros(x.shape, jnp.float32)
                return zeros(query), zeros(key.mT), zeros(value.mT), jax.tree.map(jnp.zeros_like, bias)

            parts = jax.lax.cond(blocks.state[row, i, j] == 0, skip, compute, None)
            d_query = d_query + parts[0]
            d_key, d_value = (
                _add_block(x, part, row, j * static.block_k)
                for x, part in zip((d_key, d_value), parts[1:3], strict=True)
            )
            return d_query, d_key, d_value, jax.tree.map(jnp.add, d_bias, parts[3])

        start = jnp.zeros(query.shape), *carry
        d_query, *carry = jax.lax.fori_loop(blocks.first[row, i], blocks.last[row, i], extend, start)
        return tuple(carry), d_query

    # Keys and values get their gradients as columns: XLA's product that contracts the rows of both its operands runs
    # at the rate of the others only if the small one comes first.
    zeros = jnp.zeros(k.mT.shape), jnp.zeros(v.mT.shape), jax.tree.map(jnp.zeros_like, bias)
    (d_key, d_value, d_bias), d_query = jax.lax.scan(one, zeros, _tasks(blocks))
    d_query = d_query.reshape(blocks.rows, blocks.queries, *d_query.shape[1:])
    d_query = jnp.moveaxis(d_query, 1, 3).reshape(q.shape)
    return d_query.astype(q.dtype), d_key.mT.astype(k.dtype), d_value.mT.astype(v.dtype), None, d_bias, None


def _add_block(x: Array, part: Array, row: Any, start: Any) -> Array:
    """`x` `[B, M, H, K]` with a block `[M, H, k]` added in place."""
    at = (row, 0, 0, start)
    old = jax.lax.dynamic_slice(x, at, (1, *part.shape))
    return jax.lax.dynamic_update_slice(x, old + part[None], at)


def _bias_gradient(blocks: _Blocks, bias: Any, row: Any, i: Any, j: Any, d_scores: Array) -> Any:
    """Of the bias's arrays, through one block."""
    if blocks.static.bias is None:
        return bias
    values, pull = jax.vjp(lambda arrays: blocks.bias(arrays, row, i, j), bias)
    axes = [axis for axis, n in enumerate(values.shape) if n == 1 and d_scores.shape[axis] != 1]
    return pull(jnp.sum(d_scores, axis=axes, keepdims=True).astype(values.dtype))[0]


_attend.defvjp(_forward, _backward)
