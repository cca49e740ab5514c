"""The notebook runs from its first cell to its last."""

import json
import os
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "flaxmask_colab.ipynb"


def test_it_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)


@pytest.mark.slow
def test_every_cell_runs_at_smoke_scale(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("FLAXMASK_SCALE", "smoke")
    monkeypatch.setenv("FLAXMASK_RESULTS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOK.parent.parent), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output["text"] for output in outputs if output.get("name") == "stdout")
    shown = [output["data"] for output in outputs if "data" in output]
    assert "nothing was computed twice" in printed
    assert "| packed |" in "".join(data.get("text/markdown", "") for data in shown)
    assert sum("image/png" in data for data in shown) >= 4, "figures of the table, and the audit's"
    assert "does not obey what it declares" in printed
    assert (tmp_path / "padding" / "report.html").exists()
