"""One mask, every kernel: random formulas over random Tokens against plain loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask import masks
from flaxmask.attention.blockwise import blockwise
from flaxmask.attention.reference import reference
from flaxmask.attention.splash import splash
from flaxmask.attention.xla import xla
from tests.masks.test_blocks import truth
from tests.masks.test_evaluate import oracle
from tests.masks.test_formula import formulas
from tests.toy import random_tokens

QUERIES, KEYS, HEADS, GROUPS, SIZE = 5, 7, 4, 2, 8
SEEDS = st.integers(0, 2**32 - 1)
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}


def by_loops(query, key, value, bias, seen, d_out):
    """Attention over the visible keys alone and its gradients, in float64, query by query."""
    query, key, value, bias, d_out = (np.asarray(x, np.float64) for x in (query, key, value, bias, d_out))
    out, gradients = np.zeros_like(query), [np.zeros_like(x) for x in (query, key, value, bias)]
    d_query, d_key, d_value, d_bias = gradients
    scale = query.shape[-1] ** -0.5
    for b, q, n in np.ndindex(query.shape[:3]):
        keys, m = np.flatnonzero(seen[b, 0, q]), n // GROUPS
        if not len(keys):
            continue
        scores = key[b, keys, m] @ query[b, q, n] * scale + bias[0, n, q, keys]
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        out[b, q, n] = weights @ value[b, keys, m]
        d_weights = value[b, keys, m] @ d_out[b, q, n]
        d_scores = weights * (d_weights - weights @ d_weights)
        d_query[b, q, n] = d_scores @ key[b, keys, m] * scale
        d_key[b, keys, m] += np.outer(d_scores, query[b, q, n]) * scale
        d_value[b, keys, m] += np.outer(weights, d_out[b, q, n])
        d_bias[0, n, q, keys] += d_scores
    return out, gradients


def draw(seed, queries=QUERIES, keys=KEYS, dtype="float32", batch=2):
    """Query, key, value, bias, a gradient of the output, and both Tokens."""
    rng = np.random.default_rng(seed)
    shapes = [(queries, HEADS), (keys, HEADS // GROUPS), (keys, HEADS // GROUPS), (queries, HEADS)]
    query, key, value, d_out = (jnp.asarray(rng.normal(size=(batch, *s, SIZE)), dtype) for s in shapes)
    bias = jnp.asarray(rng.normal(size=(1, HEADS, queries, keys)), jnp.float32)
    return (query, key, value, bias), d_out, (random_tokens(rng, batch, queries), random_tokens(rng, batch, keys))


@functools.cache
def with_the_mask_at_run_time(run):
    """Outputs and gradients, compiled once for all masks."""

    def call(arrays, d_out, visible, *tokens):
        shown = masks.By(lambda scores, query, key: visible)
        attend = lambda q, k, v, bias: run(q, k, v, shown, *tokens, bias, 0.0, None)
        out, pull = jax.vjp(attend, *arrays)
        return out, pull(d_out.astype(out.dtype))

    return jax.jit(call)


def compare(found, wanted, dtype):
    """Outputs to 1e-5 (bf16: 2e-2), gradients to ten times that of the norm of them all."""
    (out, gradients), (wanted_out, wanted_gradients) = found, wanted
    atol = TOLERANCE[dtype]
    np.testing.assert_allclose(np.asarray(out, np.float32), wanted_out, atol=atol * max(1, np.abs(wanted_out).max()))
    norm = max(1.0, sum(float((x**2).sum()) for x in wanted_gradients) ** 0.5)
    for left, right in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(np.asarray(left, np.float32), right, atol=max(1e-4, atol) * norm)


def check_dense(mask, seed, dtype):
    """The mask and its blocks exactly; `reference` and `xla` with the mask as a run-time argument."""
    arrays, d_out, tokens = draw(seed, dtype=dtype)
    seen = oracle(mask, *tokens)
    visible = np.asarray(mask(*tokens))
    np.testing.assert_array_equal(visible, seen)
    blocks, true_blocks = np.asarray(mask.blocks(*tokens, 2, 3)), truth(mask, *tokens, 2, 3)
    assert blocks.shape == true_blocks.shape
    assert ((blocks == 1) | (blocks == true_blocks)).all()
    wanted = by_loops(*arrays, seen, d_out)
    for run in (reference, xla):
        compare(with_the_mask_at_run_time(run)(arrays, d_out, visible, *tokens), wanted, dtype)


@settings(max_examples=120, deadline=None)
@given(formulas(), SEEDS, st.sampled_from(sorted(TOLERANCE)))
def test_dense_kernels(mask, seed, dtype):
    check_dense(mask, seed, dtype)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(formulas(), SEEDS, st.sampled_from(sorted(TOLERANCE)))
def test_dense_kernels_more_often(mask, seed, dtype):
    check_dense(mask, seed, dtype)


def check_blockwise(mask, seed, dtype, batch):
    """Small blocks, several blocks long, so that hidden ones are skipped; uncompiled, as each formula is a program."""
    arrays, d_out, tokens = draw(seed, queries=3, dtype=dtype, batch=batch)
    run = functools.partial(blockwise, block_q=2, block_k=3)
    with jax.disable_jit():
        out, pull = jax.vjp(lambda q, k, v, bias: run(q, k, v, mask, *tokens, bias, 0.0, None), *arrays)
        found = out, pull(d_out.astype(out.dtype))
    compare(found, by_loops(*arrays, oracle(mask, *tokens), d_out), dtype)


@settings(max_examples=10, deadline=None)
@given(formulas(), SEEDS, st.sampled_from(sorted(TOLERANCE)))
def test_blockwise(mask, seed, dtype):
    check_blockwise(mask, seed, dtype, batch=1)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(formulas(), SEEDS, st.sampled_from(sorted(TOLERANCE)))
def test_blockwise_more_often(mask, seed, dtype):
    check_blockwise(mask, seed, dtype, batch=2)


LONG = 300  # three of splash's blocks


@functools.cache
def splash_with_the_mask_at_run_time():
    """As above; splash takes no mask by content, so it is told what to evaluate to."""

    def call(arrays, d_out, visible, *tokens):
        attend = lambda q, k, v: splash(q, k, v, masks.full, *tokens, None, 0.0, None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("flaxmask.attention.splash.evaluate", lambda *_: visible)
            out, pull = jax.vjp(attend, *arrays)
        return out, pull(d_out.astype(out.dtype))

    return jax.jit(call)


def check_splash(mask, seed, dtype):
    """Any tokens: the mask becomes an array, of which hidden blocks are skipped."""
    (*arrays, _), d_out, tokens = draw(seed, LONG, LONG - 20, dtype, batch=1)
    seen = np.asarray(mask(*tokens))
    found = splash_with_the_mask_at_run_time()(tuple(arrays), d_out, seen, *tokens)
    out, gradients = by_loops(*arrays, np.zeros((1, HEADS, LONG, LONG)), seen, d_out)
    compare(found, (out, gradients[:3]), dtype)


@settings(max_examples=10, deadline=None)
@given(formulas(), SEEDS, st.sampled_from(sorted(TOLERANCE)))
def test_splash(mask, seed, dtype):
    check_splash(mask, seed, dtype)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(formulas(), SEEDS, st.sampled_from(sorted(TOLERANCE)))
def test_splash_more_often(mask, seed, dtype):
    check_splash(mask, seed, dtype)
