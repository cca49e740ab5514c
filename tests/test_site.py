"""The documentation as a site."""

import subprocess
import sys
from pathlib import Path

import pytest

from flaxmask.catalogue import catalogue

ROOT = Path(__file__).parent.parent


def test_the_page_of_experiments_is_that_of_the_code():
    assert (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8") == catalogue()


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    built = tmp_path / "site"
    pages = [path.stem for path in (ROOT / "docs").glob("*.md")]
    assert all((built / page / "index.html").exists() for page in pages)
    first = (built / "index.html").read_text(encoding="utf-8")
    assert 'href="tables/"' in first
    assert 'href="results/published/packing/table/"' in first
    assert (built / "images" / "padding.png").exists()
    assert "table/#" not in first
