"""Runs that are killed and stopped at every kind of moment, as real processes."""

import pytest

from benchmarks.reliability import kills


@pytest.mark.slow
@pytest.mark.parametrize("trial", kills.TRIALS, ids=lambda trial: trial.__name__)
def test_what_is_killed_or_stopped_ends_as_if_undisturbed(folder, trial):
    outcomes = trial(folder)
    assert outcomes
    assert all(outcome.held for outcome in outcomes), outcomes
