import jax
import numpy as np
import pytest

from flaxmask.names import Failed
from flaxmask.training import mishap
from tests import toy

BATCH = toy.batches(toy.examples(8), "static", 8)[0]


@pytest.mark.parametrize(
    "error", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore")]
)
def test_a_batch_without_room_is_named_with_the_settings(error):
    rows, length = BATCH.source.shape
    wanted = rf"out of memory in an update of {rows} rows × {length} source and \d+ target tokens .*data.batch_examples"
    with pytest.raises(Failed, match=wanted) as caught, mishap.fits(BATCH):
        raise error
    assert "\n" not in str(caught.value)


def test_other_errors_of_a_program_stay_what_they_are():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), mishap.fits(BATCH):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_a_batch_is_kept_by_the_names_of_its_arrays(tmp_path):
    mishap.set_aside(BATCH, tmp_path / "batch.npz")
    with np.load(tmp_path / "batch.npz", allow_pickle=False) as kept:
        assert set(kept.files) >= {"source.ids", "target.positions", "labels", "weights", "examples"}
        np.testing.assert_array_equal(kept["source.ids"], BATCH.source.ids)
        np.testing.assert_array_equal(kept["weights"], BATCH.weights)
