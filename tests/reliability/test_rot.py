import pytest

from benchmarks.reliability import rot


@pytest.mark.slow
@pytest.mark.parametrize("trial", rot.TRIALS)
def test_what_is_broken_is_noticed(trial, tmp_path):
    for outcome in trial(tmp_path):
        assert outcome.held, outcome
