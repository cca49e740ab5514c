import pytest

from benchmarks.reliability import disk


@pytest.mark.slow
def test_a_full_disk_is_named_and_loses_nothing(tmp_path):
    try:
        outcomes = disk.full_disk(tmp_path)
    except disk.NoDisk:  # only root may mount one, and not everywhere
        outcomes = disk.large_files(tmp_path)
    for outcome in outcomes:
        assert outcome.held, outcome


@pytest.mark.slow
def test_results_are_whole_whenever_their_writer_is_killed(tmp_path):
    for outcome in disk.killed_results(tmp_path):
        assert outcome.held, outcome
