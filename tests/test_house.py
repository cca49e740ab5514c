"""The house: who imports whom, and what starts without jax."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import flaxmask

ROOT = Path(flaxmask.__file__).parent

PROBES = ("_costs", "_specimens", "_ledger")
"""Modules beside the pages that a row calls instead of training, and the ledger: no page imports them."""

# From the top down: a room imports only what stands below it.
ROOMS = (
    "catalogue",
    "commands",
    "cell",
    "export",
    "translate",
    "setting",
    "study",
    "judge",
    "attended",
    "answers",
    "plans",
    "experiment",
    "provenance",
    "probe",
    "reporting",
    "training",
    "decoding",
    "evaluation",
    "models",
    "attention",
    "readout",
    "audit",
    "data",
    "masks",
    "products",
    "overrides",
    "tokens",
    "hosts",
    "lock",
    "stopping",
    "files",
    "foreign",
    "names",
)
# Beyond the order: these know functions, not models; and reports are made of files alone.
NEVER = {
    ("training", "models"),
    ("training", "decoding"),
    ("decoding", "models"),
    ("reporting", "training"),
    ("reporting", "models"),
    ("reporting", "attention"),
    ("reporting", "data"),
    ("audit", "data"),
}
WITHOUT_JAX = (
    "flaxmask",
    "flaxmask.masks",
    "flaxmask.experiment",
    "flaxmask.overrides",
    "flaxmask.data.config",
    "flaxmask.models.config",
    "flaxmask.training.config",
    "flaxmask.reporting.results",
    "experiments.padding",
)


def room(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> set[str]:
    """Modules of this project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "flaxmask" else {node.module}
            )
    return {name for name in found if name.startswith("flaxmask.")}


def files():
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(("flaxmask", *path.relative_to(ROOT).with_suffix("").parts))
        if module != "flaxmask.__init__":
            yield module, path


def test_imports_point_downwards():
    for module, path in files():
        for imported in imports(path):
            above, below = room(module), room(imported)
            assert above in ROOMS, f"{above} is a room that this test does not know"
            assert below in ROOMS, f"{module} imports {imported}"
            # A configuration is data: what fills a cell in may name it wherever it stands.
            assert ROOMS.index(above) <= ROOMS.index(below), f"{module} imports {imported}, which stands above it"
            assert (above, below) not in NEVER, f"{module} imports {imported}"


def test_experiments_import_the_experiment_and_configurations_alone():
    for path in (ROOT.parent / "experiments").glob("*.py"):
        if path.stem in PROBES:
            continue
        allowed = {
            "flaxmask.experiment",
            *(f"flaxmask.{room}.config" for room in ("data", "models", "training", "decoding")),
        }
        assert imports(path) <= allowed


@pytest.mark.parametrize("module", WITHOUT_JAX)
def test_starts_without_jax(module):
    program = f"import sys, {module}; assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT.parent)


def test_names_are_handed_on_lazily():
    assert set(flaxmask.__all__) == {"Tokens", "Batch", "masks", "attention", "audit"}
    for name in flaxmask.__all__:
        assert getattr(flaxmask, name) is not None
    assert set(dir(flaxmask)) >= set(flaxmask.__all__)
    with pytest.raises(AttributeError, match="no attribute 'maks'"):
        flaxmask.maks  # noqa: B018


@pytest.mark.parametrize("name", [m.name for m in pkgutil.walk_packages([str(ROOT)], "flaxmask.")])
def test_examples_in_docstrings(name):
    """And every module imports."""
    import numpy as np

    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def test_nothing_here_starts_tensorflow():
    assert "tensorflow" not in sys.modules
