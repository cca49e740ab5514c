"""That a fall is seen, and nothing else taken for one."""

import copy

from benchmarks.guard import fallen, ratios

KEPT = {
    "machine": "x86_64",
    "rows": [
        {"model": "torch", "layout": "packed", "ours_to_it": 2.0, "seconds": 1.0},
        {"model": "plain Flax", "layout": "packed", "ours_to_it": 3.0, "seconds": 2.0},
    ],
    "lines": [{"case": "causal", "forward": {"blockwise_is_times_as_fast_as": {"xla": 2.0}, "milliseconds": 5.0}}],
}


def changed(ratio: float) -> dict:
    found = copy.deepcopy(KEPT)
    found["rows"][1]["ours_to_it"] = ratio
    found["rows"][0]["seconds"] = 100.0
    del found["lines"]
    return found


def test_ratios_alone_are_looked_at():
    assert sorted(value for _, value in ratios(KEPT)) == [2.0, 2.0, 3.0]


def test_a_fall_of_more_than_15_percent_is_named():
    assert fallen(KEPT, changed(2.6)) == []
    assert fallen(KEPT, changed(4.0)) == []
    assert fallen(KEPT, changed(2.5)) == ["rows, model=plain Flax, layout=packed, ours_to_it: 3.00 before, 2.50 now"]
