"""The loss of a readout, a part at a time, against that of its logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask.readout import Readout
from flaxmask.training import loss
from flaxmask.training.loss import cross_entropy

ROWS, LENGTH, WIDTH, IDS = 3, 7, 5, 11


def drawn(bias: bool) -> tuple[Readout, np.ndarray, np.ndarray]:
    """A readout, labels and weights; the last slots of each row are padding."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    labels = rng.integers(1, IDS, (ROWS, LENGTH)).astype(np.int32)
    real = np.arange(LENGTH)[None] < np.array([[LENGTH], [4], [1]])
    weights = np.where(real, rng.uniform(0.5, 2.0, real.shape), 0.0).astype(np.float32)
    return (
        Readout(normal(ROWS, LENGTH, WIDTH), normal(IDS, WIDTH), normal(IDS) if bias else None),
        np.where(real, labels, 0),
        weights,
    )


@pytest.mark.parametrize("cells", [1, 2 * ROWS * IDS, 3 * ROWS * IDS, 2**23])
@pytest.mark.parametrize(("bias", "smoothing"), [(False, 0.1), (True, 0.0), (True, 0.3)])
def test_parts_give_the_loss_and_the_gradients_of_all_logits(monkeypatch, cells, bias, smoothing):
    """Of one slot a row, two, three (the last part is filled up) and all."""
    monkeypatch.setattr(loss, "CELLS", cells)
    readout, labels, weights = drawn(bias)
    how = labels, weights, smoothing
    by_parts = lambda readout: cross_entropy(readout, *how)[0] * 3.0
    whole = lambda readout: cross_entropy(readout.logits(), *how)[0] * 3.0
    (found, gradients), (wanted, wanted_gradients) = (jax.value_and_grad(of)(readout) for of in (by_parts, whole))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    for name, gradient in gradients._asdict().items():
        if gradient is not None:
            np.testing.assert_allclose(gradient, getattr(wanted_gradients, name), rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(cross_entropy(readout, *how)[1], weights.sum(), rtol=1e-6)


def test_padding_gets_no_gradient_and_moves_nothing():
    readout, labels, weights = drawn(bias=True)
    gradient = jax.grad(lambda r: cross_entropy(r, labels, weights, 0.1)[0])(readout)
    assert not gradient.features[weights == 0].any()
    assert not gradient.matrix[0].any()
    assert not gradient.bias[0]
    other = readout._replace(features=jnp.where((weights > 0)[..., None], readout.features, 1e3))
    np.testing.assert_array_equal(*(cross_entropy(r, labels, weights, 0.1)[0] for r in (readout, other)))


def test_all_logits_are_never_held():
    """The compiled loss and its gradients need less memory than the logits alone would take."""
    rows, length, ids = 8, 128, 2**16
    shapes = Readout(jax.ShapeDtypeStruct((rows, length, 4), np.float32), jax.ShapeDtypeStruct((ids, 4), np.float32))
    labels, weights = (jax.ShapeDtypeStruct((rows, length), kind) for kind in (np.int32, np.float32))
    grad = jax.grad(lambda r, *how: cross_entropy(r, *how, 0.1)[0])
    held = jax.jit(grad).lower(shapes, labels, weights).compile().memory_analysis().temp_size_in_bytes
    assert held < rows * length * ids * 4 / 2


def test_half_precision_comes_back_as_it_was():
    readout, labels, weights = drawn(bias=True)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), readout)
    gradient = jax.jit(jax.grad(lambda r: cross_entropy(r, labels, weights, 0.1)[0]))(half)
    assert {x.dtype for x in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.bfloat16)}
    wanted = jax.grad(lambda r: cross_entropy(r, labels, weights, 0.1)[0])(readout)
    error = jax.tree.map(lambda x, y: jnp.linalg.norm(x.astype(jnp.float32) - y) / jnp.linalg.norm(y), gradient, wanted)
    assert max(jax.tree.leaves(error)) < 0.02


def test_rows_on_several_devices_give_the_same():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:3]), ("data",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    readout, labels, weights = drawn(bias=False)
    of = jax.value_and_grad(lambda x, matrix, *how: cross_entropy(Readout(x, matrix), *how)[0])
    found = jax.jit(of, in_shardings=(rows, None, rows, rows))(readout.features, readout.matrix, labels, weights)
    wanted = of(readout.features, readout.matrix, labels, weights)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5)
