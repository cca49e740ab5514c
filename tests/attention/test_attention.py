import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Tokens, attention, masks
from flaxmask.attention.dropout import dropout
from tests.masks.test_evaluate import oracle
from tests.toy import random_tokens

HERE = ["blockwise", "reference", "splash", "xla"]  # what cudnn is told: test_slots.py
BIASED = ["blockwise", "reference", "xla"]


def test_every_implementation_is_tested():
    assert {*HERE, "cudnn"} == set(attention.IMPLEMENTATIONS)


def inputs(rng, queries=3, keys=4, heads=4, key_heads=2, size=8, batch=2, dtype=np.float32):
    """Query, key, value and their Tokens."""
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
    arrays = (
        draw(batch, queries, heads, size),
        draw(batch, keys, key_heads, size),
        draw(batch, keys, key_heads, size),
    )
    return arrays, (random_tokens(rng, batch, queries), random_tokens(rng, batch, keys))


@pytest.mark.parametrize("implementation", HERE)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_query_that_sees_nothing_gives_zeros_and_zero_gradients(implementation, dtype, rng):
    arrays, (query, key) = inputs(rng, dtype=dtype)
    segments = np.array(query.segments)
    segments[0, 1] = 0  # sees nothing under `segment`
    query = Tokens(query.ids, segments, query.positions)

    def row(*arrays):
        out = attention.dot_product_attention(*arrays, masks.segment, query, key, implementation=implementation)
        assert out.dtype == dtype
        return jnp.sum(out[0, 1].astype(jnp.float32) ** 2 + out[0, 1]), out[0, 1]

    (_, out), gradients = jax.jit(jax.value_and_grad(row, (0, 1, 2), has_aux=True))(*arrays)
    assert not np.asarray(out).any()
    for gradient in map(np.asarray, gradients):
        assert np.isfinite(gradient.astype(np.float32)).all()
        assert not gradient.any()


@pytest.mark.parametrize("implementation", HERE)
def test_gradients_are_finite_and_agree_beside_empty_rows(implementation, rng):
    arrays, (query, key) = inputs(rng)
    key = Tokens(key.ids, np.array([[0, 0, 0, 0], [1, 2, 0, 3]], np.int32), key.positions)

    def loss(implementation, *arrays):
        out = attention.dot_product_attention(*arrays, masks.segment, query, key, implementation=implementation)
        return jnp.sum(out**2)

    ours = jax.grad(loss, (1, 2, 3))(implementation, *arrays)
    for gradient, wanted in zip(ours, jax.grad(loss, (1, 2, 3))("reference", *arrays), strict=True):
        np.testing.assert_allclose(gradient, wanted, atol=1e-5)


@pytest.mark.parametrize("implementation", HERE)
def test_a_hidden_key_moves_nothing_not_even_the_last_bit(implementation, rng):
    (query, key, value), tokens = inputs(rng)
    seen = oracle(masks.segment, *tokens)
    call = lambda k, v: attention.dot_product_attention(
        query, k, v, masks.segment, *tokens, implementation=implementation
    )
    before = call(key, value)
    for k in range(key.shape[1]):
        after = call(key.at[:, k].set(99.0), value.at[:, k].set(99.0))
        hidden = ~seen[:, 0, :, k]
        np.testing.assert_array_equal(np.asarray(after)[hidden], np.asarray(before)[hidden])
        assert (np.asarray(after) != np.asarray(before))[~hidden].any() == (~hidden).any()


@pytest.mark.parametrize("implementation", BIASED)
@pytest.mark.parametrize("least", [-np.inf, np.finfo(np.float32).min])
def test_a_bias_cannot_bring_back_what_is_hidden(implementation, least):
    """Query 0 sees key 0 alone, whose bias is the least: it still is all that it sees, or nothing at all."""
    tokens = Tokens.of(np.ones((1, 3), int))
    query = jnp.ones((1, 3, 1, 2))
    value = jnp.arange(1.0, 4.0).reshape(1, 3, 1, 1) * jnp.ones((1, 3, 1, 2))
    bias = jnp.zeros((1, 1, 3, 3)).at[0, 0, 0, 0].set(least)
    run = lambda bias, value: attention.dot_product_attention(
        query, query, value, masks.causal, tokens, tokens, bias=bias, implementation=implementation
    )
    out, pull = jax.vjp(run, bias, value)
    np.testing.assert_allclose(out[0, 0], 0.0 if least == -np.inf else 1.0)
    np.testing.assert_allclose(out[0, 1], 1.5, atol=1e-6)
    d_bias, d_value = pull(jnp.ones_like(out))
    assert jnp.isfinite(d_bias).all()
    assert jnp.isfinite(d_value).all()


def test_bf16_stays_near_f32(rng):
    arrays, tokens = inputs(rng)
    wanted = attention.dot_product_attention(*arrays, masks.padding, *tokens)
    low = [x.astype(jnp.bfloat16) for x in arrays]
    np.testing.assert_allclose(attention.dot_product_attention(*low, masks.padding, *tokens), wanted, atol=2e-2)


def test_a_bias_may_be_a_function_of_the_tokens(rng):
    arrays, tokens = inputs(rng)
    slope = lambda query, key: (
        -0.5 * jnp.abs(query.positions[:, None, :, None] - key.positions[:, None, None, :]).astype(jnp.float32)
    )
    called = attention.dot_product_attention(*arrays, masks.full, *tokens, bias=slope)
    given_ = attention.dot_product_attention(*arrays, masks.full, *tokens, bias=slope(*tokens))
    np.testing.assert_array_equal(called, given_)


@pytest.mark.parametrize("implementation", BIASED)
def test_dropout_drops_its_share_and_keeps_the_mean(implementation):
    tokens = Tokens.of(np.ones((64, 8), int))
    ones = jnp.ones((64, 8, 2, 4))
    out = attention.dot_product_attention(
        ones, ones, ones, masks.segment, tokens, tokens,
        implementation=implementation, dropout_rate=0.25, dropout_rng=jax.random.PRNGKey(0),
    )  # fmt: skip
    kept = np.asarray(out[..., 0]) * 8 * 0.75  # how many of the 8 equal weights were kept
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-4)
    assert abs(kept.mean() - 6) < 0.15
    assert abs(kept.var() - 8 * 0.25 * 0.75) < 0.3


@pytest.mark.parametrize(("rate", "rounded"), [(0.1, 26 / 256), (0.3, 77 / 256), (0.5, 0.5), (0.001, 66 / 65536)])
def test_dropout_of_a_rate_that_bits_can_say(rate, rounded):
    """Each element alone, though 4 or 2 of them share a random word; the last axis is no multiple of either."""
    x = jnp.ones((5_000, 3, 13))
    out = np.asarray(dropout(x, rate, jax.random.PRNGKey(0)))
    dropped = out == 0.0
    np.testing.assert_allclose(out[~dropped], 1 / (1 - rounded), rtol=1e-6)
    error = (rounded * (1 - rounded) / dropped.size) ** 0.5
    assert abs(dropped.mean() - rounded) < 4 * error
    rows = dropped.reshape(-1, 13)
    if rate >= 0.1:  # of rarer ones there are too few pairs
        assert np.abs(np.corrcoef(rows.T) - np.eye(13)).max() < 5 / len(rows) ** 0.5
    np.testing.assert_array_equal(out, dropout(x, rate, jax.random.PRNGKey(0)))
    assert (out != dropout(x, rate, jax.random.PRNGKey(1))).any()


SHAPE = jnp.ones((2, 3, 4, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"query": SHAPE[0]},
            r"query: expected floats \[batch, length, heads, size\], got float32\[3, 4, 8\]",
        ),
        ({"query": SHAPE.astype(int)}, "query: expected floats .* got int32"),
        ({"key": SHAPE[:, :, :3], "value": SHAPE[:, :, :3]}, "key and value: expected .* a divisor of 4"),
        ({"value": SHAPE[:, :2]}, "key and value"),
        (
            {"query_tokens": Tokens.of(np.ones((2, 2), int))},
            r"query_tokens: expected Tokens \[2, 3\], got \[2, 2\]",
        ),
        (
            {"key_tokens": Tokens.of(np.ones((1, 3), int))},
            r"key_tokens: expected Tokens \[2, 3\], got \[1, 3\]",
        ),
        (
            {"bias": jnp.ones((2, 3, 3))},
            r"bias: expected floats broadcastable to \[2, 4, 3, 3\] with four axes",
        ),
        ({"bias": jnp.ones((2, 1, 3, 3), int)}, "bias: expected floats"),
        ({"implementation": "flash"}, "implementation: expected one of .*, got 'flash'"),
        ({"dropout_rate": 1.0}, "dropout_rate: expected 0 ≤ rate < 1"),
        ({"dropout_rate": 0.1}, "dropout_rng: expected a key where dropout_rate is 0.1, got None"),
        ({"mask": jnp.ones((2, 1, 3, 3))}, "mask: expected a formula"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    tokens = Tokens.of(np.ones((2, 3), int))
    names = ("query", "key", "value", "mask", "query_tokens", "key_tokens")
    arguments = dict(zip(names, (SHAPE, SHAPE, SHAPE, masks.full, tokens, tokens), strict=True)) | changes
    positional = [arguments.pop(name) for name in names]
    # Unwrapped, since in these tests the shape checker would speak first.
    with pytest.raises((ValueError, TypeError), match=message):
        attention.dot_product_attention.__wrapped__(*positional, **arguments)
