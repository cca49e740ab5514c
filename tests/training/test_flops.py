"""Matrix products, counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask.training.flops import count_flops

X, W = np.ones((6, 4, 5), np.float32), np.ones((5, 7), np.float32)
ONE = 2 * 6 * 4 * 5 * 7


def test_a_product_and_its_gradients():
    assert count_flops(jnp.matmul, X, W) == ONE
    assert count_flops(jax.jit(jnp.matmul), X, W) == ONE
    assert count_flops(jax.grad(lambda x, w: jnp.sum(x @ w), (0, 1)), X, W) == 3 * ONE


def test_a_scan_counts_its_turns_and_a_choice_its_dearer_side():
    def turns(x, w):
        return jax.lax.scan(lambda total, part: (total + jnp.sum(part @ w), None), 0.0, x)[0]

    assert count_flops(turns, X, W) == ONE
    either = lambda x, w: jax.lax.cond(True, lambda: jnp.sum(x @ w), lambda: jnp.sum(x[:2] @ w))
    assert count_flops(either, X, W) == ONE


def test_devices_of_a_pmap_are_counted_together():
    both = jax.pmap(lambda x, w: x @ w, in_axes=(0, None), devices=jax.devices()[:3])
    assert count_flops(both, X.reshape(3, 8, 5), W) == ONE
