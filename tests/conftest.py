"""Shared by all tests: four virtual devices, shapes checked at run time, programs kept between runs."""

import os
import sys
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache"
os.environ.setdefault("TFDS_DATA_DIR", str(CACHE / "tfds"))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "jax"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the suite's time is compilation; without XLA's optimiser, with its older emitters and undivided modules a
# program is compiled in a third of the time. The logic is the same; the slow tests in CI have XLA as users have it.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)

from jaxtyping import install_import_hook  # noqa: E402

assert not any(name.startswith("flaxmask.") for name in sys.modules), "the hook must come before the modules"
# Modules whose signatures carry shapes; beartype then checks every call in every test.
CHECKED = ("attention", "masks.evaluate", "models", "training", "decoding")
install_import_hook([f"flaxmask.{name}" for name in CHECKED], "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_modifyitems(items):
    """The longest file comes first, so that the workers end together."""
    items.sort(key=lambda item: item.path.name != "test_pages.py")


@pytest.fixture
def rng():
    """NumPy's generator, seeded."""
    import numpy as np

    return np.random.default_rng(0)
