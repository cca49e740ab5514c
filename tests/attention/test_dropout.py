"""Dropout: how much it drops, by how much it scales, and that gradients pass where values did."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.attention.dropout import dropout


@settings(deadline=None, max_examples=20)  # each shape is compiled
@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([0.1, 0.25, 0.5, 0.003]), st.integers(0, 99))
def test_gradients_pass_where_values_do(rows, width, rate, seed):
    x = jnp.ones((rows, width))
    out, pull = jax.vjp(lambda x: dropout(x, rate, jax.random.key(seed)), x)
    (gradient,) = pull(jnp.ones_like(out))
    np.testing.assert_array_equal(out, gradient)
    kept = np.asarray(out)[np.asarray(out) != 0]
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=0.01)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.003])
def test_the_rate(rate):
    out = np.asarray(dropout(jnp.ones((512, 1001)), rate, jax.random.key(0)))
    deviation = (rate * (1 - rate) / out.size) ** 0.5
    assert abs((out == 0).mean() - rate) < 4 * deviation + rate / 50
    # Elements that share a word are as independent of each other as the rest.
    dropped = (out == 0).astype(float) - (out == 0).mean()
    for apart in (1, 2, 3, 4):
        assert abs((dropped[:, apart:] * dropped[:, :-apart]).mean()) < 5 * rate / out.size**0.5


def test_no_rate_is_no_change():
    x = jnp.arange(5.0)
    assert dropout(x, 0.0, jax.random.key(0)) is x
    assert dropout(x, 0.5, None) is x


def test_the_dtype_stays():
    assert dropout(jnp.ones((4, 4), jnp.bfloat16), 0.1, jax.random.key(0)).dtype == jnp.bfloat16
