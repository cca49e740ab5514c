import pytest

from benchmarks.reliability import nonfinite


@pytest.mark.slow
@pytest.mark.parametrize("trial", nonfinite.TRIALS)
def test_no_state_is_lost_to_numbers_that_are_not_finite(trial, tmp_path):
    for outcome in trial(tmp_path):
        assert outcome.held, outcome
