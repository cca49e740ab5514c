"""Two processes that train together, as real processes."""

import pytest

from benchmarks.reliability import hosts


@pytest.mark.slow
@pytest.mark.parametrize("trial", hosts.TRIALS, ids=lambda trial: trial.__name__)
def test_two_processes_are_as_one(folder, trial):
    for outcome in trial(folder):
        assert outcome.held, outcome
