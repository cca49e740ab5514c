import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Tokens, masks
from flaxmask.attention import MultiHeadAttention

MASK = masks.causal & masks.segment
TOKENS = Tokens.of(np.array([[5, 6, 7, 8, 0], [5, 6, 7, 8, 9]]), layout="rows")
OURS = MultiHeadAttention(num_heads=4, qkv_features=16)
LINEN = nn.MultiHeadDotProductAttention(num_heads=4, qkv_features=16)


def draw(rng, width=16):
    return jnp.asarray(rng.normal(size=(2, 5, width)), jnp.float32)


@pytest.mark.parametrize("own", [True, False])
def test_linen_s_weights_load_and_give_the_same(rng, own):
    x = draw(rng)
    y = x if own else draw(rng)
    params = LINEN.init(jax.random.PRNGKey(0), x, y)
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases that are not zero
    wanted = LINEN.apply(params, x, y, mask=MASK(TOKENS, TOKENS))
    got = OURS.apply(params, x, y, MASK, TOKENS, TOKENS)
    real = TOKENS.real  # where nothing is visible, Linen averages what is hidden and we give the bias alone
    np.testing.assert_allclose(got[real], wanted[real], atol=1e-6)


def test_the_parameters_are_linen_s():
    x = jnp.zeros((2, 5, 16))
    ours = OURS.init(jax.random.PRNGKey(0), x, x, MASK, TOKENS, TOKENS)
    linen = LINEN.init(jax.random.PRNGKey(0), x, x)
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, linen)
    # LeCun's normal: the spread of a kernel seen as a matrix.
    np.testing.assert_allclose(ours["params"]["query"]["kernel"].std(), 16**-0.5, rtol=0.15)


def test_queries_of_another_width(rng):
    x, y = draw(rng), draw(rng, 24)
    params = LINEN.init(jax.random.PRNGKey(0), x, y)
    wanted = LINEN.apply(params, x, y)
    np.testing.assert_allclose(OURS.apply(params, x, y, masks.full, TOKENS, TOKENS), wanted, atol=1e-6)


def test_heads_divide_the_width():
    x = jnp.zeros((2, 5, 16))
    with pytest.raises(ValueError, match="num_heads: expected a divisor of qkv_features 16, got 3"):
        MultiHeadAttention(num_heads=3, qkv_features=16).init(jax.random.PRNGKey(0), x, x, MASK, TOKENS, TOKENS)
