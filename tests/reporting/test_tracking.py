"""Every update is written down once, whenever a run was cut off."""

import json
import struct
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.names import Refused
from flaxmask.reporting import tracking
from flaxmask.reporting.results import Kept
from flaxmask.reporting.tracking import Trackers


def write(kept, updates, kinds=()):
    with Trackers(kept, kinds) as trackers:
        for update in updates:
            trackers.log(update, {"loss": 1.0 / update})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20), st.integers(0, 40)), max_size=4))
def test_each_update_once_wherever_a_run_was_cut_off(tmp_path_factory, cuts):
    """Checkpoints lie behind what was written; a line may be half there; another cell's lines stay."""
    directory = tmp_path_factory.mktemp("run")
    kept, other = Kept(directory, "a", 0), Kept(directory, "a", 1)
    write(other, range(1, 6))
    last = 0
    for back, on, torn in cuts:
        start = max(1, last + 1 - back)
        write(kept, range(start, start + on))
        last = start + on - 1
        if torn:
            with kept.metrics.open("a") as file:
                file.write(json.dumps({"row": "a", "seed": 0, "update": last + 1})[:torn])
    write(kept, range(max(1, last), last + 10))
    lines = tracking.read(kept.metrics)
    mine = [line["update"] for line in lines if line["seed"] == 0]
    assert mine == list(range(1, last + 10))
    assert [line["update"] for line in lines if line["seed"] == 1] == list(range(1, 6))
    assert lines[0]["loss"] == 1.0


def scalars(path):
    """Step, name and value of the events of a file, by the format of its records."""
    from tensorboardX.proto.event_pb2 import Event

    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + size])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        at += 12 + size + 4
    return found


def test_tensorboard_reads_its_events(tmp_path):
    kept = Kept(tmp_path, "a", 0)
    write(kept, [1, 2, 4], ["tensorboard"])
    [path] = (tmp_path / "tensorboard" / "a-0").iterdir()
    assert scalars(path) == [(1, "loss", 1.0), (2, "loss", 0.5), (4, "loss", 0.25)]


def test_wandb_goes_on_with_the_cell_s_run(tmp_path, monkeypatch):
    said = []
    run = SimpleNamespace(log=lambda values, step: said.append((step, values)), finish=lambda: said.append("end"))
    init = lambda **how: said.append(how) or run
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for updates in ([1, 2], [3]):
        write(Kept(tmp_path, "a b", 0), updates, ["wandb"])
    first, *logged, second, third, end = said
    assert first["id"] == second["id"]
    assert first["resume"] == "allow"
    assert first["name"] == f"{tmp_path.name}/a b-0"
    assert logged == [(1, {"loss": 1.0}), (2, {"loss": 0.5}), "end"]
    assert (third, end) == ((3, {"loss": 1 / 3}), "end")


def test_what_cannot_be_tracked_to_is_refused(monkeypatch):
    with pytest.raises(Refused, match=r"--track wand: .*wandb"):
        tracking.check(["wand"])
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(Refused, match="the package wandb is missing; install it with pip"):
        tracking.check(["wandb"])
    tracking.check(["tensorboard"])
