import pytest

from benchmarks.reliability import memory


@pytest.mark.slow
def test_a_batch_without_room_is_named(tmp_path):
    for outcome in memory.out_of_memory(tmp_path):
        assert outcome.held, outcome
