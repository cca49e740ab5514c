"""Where a result comes from."""

import os

import pytest

from flaxmask import provenance


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="the system does not say its load")
def test_the_load_of_a_run_s_own_cells_is_told_from_that_of_others(monkeypatch):
    clock = [0.0, 0.0]
    monkeypatch.setattr(provenance, "_own", [0.0, 0.0, 0.0])
    monkeypatch.setattr(provenance.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(provenance.time, "process_time", lambda: clock[1])
    monkeypatch.setattr(os, "getloadavg", lambda: (1.9, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert provenance._load() == {"load": 1.9, "own_load": 0.0, "cpus": 2}
    clock[:] = 600.0, 1200.0  # ten minutes on both CPUs
    assert provenance._load()["own_load"] == 2.0
    clock[:] = 660.0, 1200.0  # and a minute of nothing
    assert provenance._load()["own_load"] == 0.74
    monkeypatch.delattr(os, "getloadavg")
    assert provenance._load() == {}
