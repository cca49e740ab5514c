"""Two runs in one folder."""

import pytest

from benchmarks.reliability import sharing


@pytest.mark.slow
def test_one_run_at_a_time(tmp_path):
    for trial in sharing.TRIALS:
        outcomes = trial(tmp_path)
        assert outcomes
        assert all(outcome.held for outcome in outcomes), outcomes
