import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shared by a module's trials, so that the runs that nobody disturbs are made once."""
    return tmp_path_factory.mktemp("runs")
