"""Small blocks, several blocks long, so that skipping happens, against `reference`."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Tokens, attention, masks
from flaxmask.attention.blockwise import blockwise
from flaxmask.attention.call import Call
from flaxmask.attention.reference import reference
from tests.attention.test_attention import inputs
from tests.toy import random_tokens

QUERIES, KEYS = 11, 14


@flax.struct.dataclass
class Slope:
    """A bias with a parameter, as a pytree that is called."""

    slope: Any

    def __call__(self, query: Tokens, key: Tokens):
        distance = query.positions[:, None, :, None] - key.positions[:, None, None, :]
        return self.slope[None, :, None, None] * jnp.abs(distance).astype(jnp.float32)


def gradients(run, arrays, bias, mask, tokens):
    """Outputs and gradients of query, key, value and bias for a loss that weighs every output differently."""

    def loss(query, key, value, bias):
        out = run(query, key, value, mask, *tokens, bias, 0.0, None)
        weight = jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
        return jnp.sum(out.astype(jnp.float32) * weight), out

    (_, out), found = jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True, allow_int=True)(*arrays, bias)
    return out, found


def compare(seed, mask, kind, dtype=np.float32, atol=1e-5, queries=QUERIES, keys=KEYS):
    rng = np.random.default_rng(seed)
    arrays, _ = inputs(rng, queries, keys, dtype=dtype)
    tokens = random_tokens(rng, 2, queries), random_tokens(rng, 2, keys)
    bias = {
        "none": None,
        "array": jnp.asarray(rng.normal(size=(1, 4, queries, keys)), jnp.float32),
        "row": jnp.asarray(rng.normal(size=(2, 1, 1, keys)), jnp.float32),
        "pytree": Slope(jnp.asarray(rng.normal(size=4), jnp.float32)),
    }[kind]
    run = functools.partial(blockwise, block_q=4, block_k=3)
    out, found = gradients(run, arrays, bias, mask, tokens)
    wanted_out, wanted = gradients(reference, arrays, bias, mask, tokens)
    np.testing.assert_allclose(out.astype(np.float32), wanted_out.astype(np.float32), atol=atol)
    norm = float(sum(jnp.sum(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(wanted))) ** 0.5
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        worst = float(jnp.abs(left.astype(jnp.float32) - right.astype(jnp.float32)).max())
        assert worst <= max(10 * atol, 1e-4) * max(norm, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "array", "row", "pytree"])
def test_every_kind_of_bias_gets_its_gradients(kind):
    compare(1, masks.parse("segment & window(3, 5) | global_tokens(2)"), kind)


def test_a_bias_that_closes_over_parameters_gets_gradients(rng):
    arrays, _ = inputs(rng, QUERIES, KEYS)
    tokens = random_tokens(rng, 2, QUERIES), random_tokens(rng, 2, KEYS)

    def loss(run, slope):
        out = run(*arrays, masks.padding, *tokens, lambda q, k: Slope(slope)(q, k), 0.0, None)
        return jnp.sum(jnp.sin(out))

    slope = jnp.asarray(rng.normal(size=4), jnp.float32)
    small = functools.partial(blockwise, block_q=4, block_k=3)
    found, wanted = (jax.jit(jax.grad(functools.partial(loss, run)))(slope) for run in (small, reference))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(wanted).max() > 1e-3


def test_a_bias_that_is_not_of_a_block_is_left_to_others(rng):
    """Such a bias would be read at the wrong row or slot, silently."""
    shape, tokens = jax.ShapeDtypeStruct((2, 2048, 2, 8), jnp.float32), Tokens.of(np.ones((2, 2048), int))
    slopes, whole = jnp.ones((2, 1, 1, 1)), jnp.ones((1, 1, 2048, 2048))
    for bias in (
        lambda q, k: slopes * k.positions[:, None, None],
        lambda q, k: whole,
        lambda q, k: whole + k.ids[0, 0],
    ):
        call = Call(shape, shape, masks.causal, tokens, tokens, bias, 0.0, "cpu")
        assert attention.dispatch.choose(call, None) == "xla"
        with pytest.raises(ValueError, match="the bias is asked of one row's block of 256 queries and 512 keys"):
            attention.dispatch.choose(call, "blockwise")


@pytest.mark.slow
def test_dropout_in_the_backward_pass_is_the_forward_s(rng):
    """A directional derivative by differences, which only the same draw can match."""
    (query, key, value), _ = inputs(rng, QUERIES, KEYS)
    tokens = random_tokens(rng, 2, QUERIES), random_tokens(rng, 2, KEYS)

    def loss(query, key, value):
        rng = jax.random.PRNGKey(7)
        out = blockwise(query, key, value, masks.full, *tokens, None, 0.4, rng, block_q=4, block_k=3)
        return jnp.sum(jnp.sin(out))

    found = jax.grad(loss, (0, 1, 2))(query, key, value)
    step = 1e-2
    for i, x in enumerate((query, key, value)):
        way = jnp.asarray(np.random.default_rng(i).normal(size=x.shape), jnp.float32)
        at = lambda t, i=i, way=way: loss(*[y + t * way if j == i else y for j, y in enumerate((query, key, value))])
        difference = (at(step) - at(-step)) / (2 * step)
        np.testing.assert_allclose(jnp.sum(found[i] * way), difference, rtol=2e-2, atol=2e-2)


def test_no_array_of_queries_by_keys_is_built():
    """In the compiled program of a causal mask, forward and backward."""
    length = 512
    tokens = Tokens.of(np.ones((1, length), int), layout="rows")
    shapes = [jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)] * 3

    def loss(q, k, v, run):
        return run(q, k, v, masks.parse("causal & segment"), tokens, tokens, None, 0.0, None).sum()

    def largest(run):
        text = jax.jit(jax.grad(functools.partial(loss, run=run), (0, 1, 2))).lower(*shapes).as_text()
        return f"{length}x{length}" in text

    assert largest(reference)
    assert not largest(functools.partial(blockwise, block_q=64, block_k=64))


def test_hidden_blocks_are_not_computed(monkeypatch):
    """Keys of hidden blocks may be NaN: whoever multiplied them, even by 0, would spread them."""
    length = 32
    tokens = Tokens.of(np.ones((1, length), int), layout="rows")
    query = jnp.ones((1, length, 1, 8))
    poisoned = query.at[:, 16:].set(jnp.nan)
    out = blockwise(query, poisoned, poisoned, masks.causal, tokens, tokens, None, 0.0, None, block_q=8, block_k=8)
    assert jnp.isfinite(out[:, :16]).all()
    window = masks.parse("causal & window(7)")
    out = blockwise(query, query.at[:, :8].set(jnp.nan), query, window, tokens, tokens, None, 0.0, None, 8, 8)
    assert jnp.isfinite(out[:, 16:]).all()


def test_it_is_chosen_for_long_rows_on_cpu_and_refuses_masks_by_content():
    shape = lambda length: jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    tokens = Tokens.of(np.ones((1, 64), int))
    call = lambda length, mask: Call(shape(length), shape(length), mask, tokens, tokens, None, 0.0, "cpu")
    choose = attention.dispatch.choose
    assert choose(call(64, masks.causal), None) == "xla"
    assert choose(call(2048, masks.causal), None) == "blockwise"
    loud = masks.By(lambda scores, query, key: scores > 0)
    assert choose(call(2048, loud & masks.causal), None) == "xla"
    with pytest.raises(ValueError, match="implementation='blockwise': the mask by"):
        choose(call(64, ~(loud & masks.causal)), "blockwise")


def test_a_mask_by_content_sees_the_scores(rng):
    (query, key, value), _ = inputs(rng, QUERIES, KEYS)
    tokens = Tokens.of(np.ones((2, QUERIES), int)), Tokens.of(np.ones((2, KEYS), int))
    top = masks.By(lambda scores, q, k: scores >= jax.lax.top_k(scores, 3)[0][..., -1:])
    for implementation in ("reference", "xla"):
        counted = attention.dot_product_attention(
            query, key, jnp.ones_like(value), top, *tokens, implementation=implementation
        )
        np.testing.assert_allclose(counted, 1.0, atol=1e-6)
        wanted = np.asarray(reference(query, key, value, top, *tokens, None, 0.0, None))
        found = attention.dot_product_attention(query, key, value, top, *tokens, implementation=implementation)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert np.abs(wanted - reference(query, key, value, masks.full, *tokens, None, 0.0, None)).max() > 0.1
