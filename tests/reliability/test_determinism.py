"""The same run twice is the same run, and so it is on other numbers of devices."""

import pytest

from benchmarks.reliability import determinism


@pytest.mark.slow
@pytest.mark.parametrize("trial", [determinism.twice, determinism.devices], ids=lambda trial: trial.__name__)
def test_on_cpu(tmp_path, trial):
    [outcome] = trial(tmp_path)
    assert outcome.held, outcome


@pytest.mark.slow
def test_on_an_accelerator(tmp_path):
    outcomes = determinism.accelerator(tmp_path)
    if not outcomes:
        pytest.skip("there is no accelerator here")
    [outcome] = outcomes
    assert outcome.held, outcome
