"""Two processes that train together, as real processes."""

import pytest

from benchmarks.reliability import hosts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shared, so that the runs that nobody disturbs are made once."""
    return tmp_path_factory.mktemp("hosts")


@pytest.mark.slow
@pytest.mark.parametrize("trial", hosts.TRIALS, ids=lambda trial: trial.__name__)
def test_two_processes_are_as_one(folder, trial):
    for outcome in trial(folder):
        assert outcome.held, outcome
