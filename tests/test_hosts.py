"""Several processes: what each of them says and decides, without a second one."""

import json
import threading

import numpy as np
import pytest

from flaxmask import commands, hosts, stopping
from flaxmask.hosts import Hosts, parse
from flaxmask.names import Refused


class Service:
    """Keys and values that processes share, as `jax.distributed`'s coordination service has them."""

    def __init__(self):
        self.kept, self._changed = {}, threading.Condition()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self._changed:
            assert allow_overwrite or key not in self.kept
            self.kept[key] = value
            self._changed.notify_all()

    def key_value_try_get(self, key):
        if key not in self.kept:
            raise RuntimeError(f"NOT_FOUND: {key}")
        return self.kept[key]

    def blocking_key_value_get(self, key, milliseconds):
        with self._changed:
            if not self._changed.wait_for(lambda: key in self.kept, milliseconds / 1e3):
                raise RuntimeError("DEADLINE_EXCEEDED: nothing came")
            return self.kept[key]


@pytest.fixture
def pair():
    service = Service()
    return Hosts(service, 0, 2), Hosts(service, 1, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slurm", "expected auto, or HOST:PORT,COUNT,INDEX such as"),
        ("10.0.0.1,2,0", "expected auto"),
        ("10.0.0.1:1234,2", "expected auto"),
        ("10.0.0.1:1234,2,-1", "expected auto"),
        ("10.0.0.1:70000,2,0", "70000 is no port"),
        ("10.0.0.1:1234,2,2", r"of 2 process\(es\) the index is 0 to 1, not 2"),
    ],
)
def test_a_place_that_is_none_is_refused(text, said):
    with pytest.raises(Refused, match=f"--distributed {text}: .*{said}"):
        commands.prepare("padding", "smoke", distributed=text)


def test_the_first_is_found_under_a_name_or_an_address():
    assert parse("node-1.cluster:1234,16,15") == ("node-1.cluster:1234", 16, 15)
    assert parse("[fe80::1]:1234,2,0") == ("[fe80::1]:1234", 2, 0)
    assert parse("auto") == (None, None, None)


@pytest.mark.parametrize("asked", [(0,), (1,), (0, 1)])
def test_all_stop_behind_the_same_update(pair, asked, monkeypatch):
    """Whoever was asked, and whichever of the two is asked first whether it is to stop."""
    for order in (pair, pair[::-1]):
        service = Service()
        monkeypatch.setattr(pair[0], "_client", service)
        monkeypatch.setattr(pair[1], "_client", service)
        ends = {}
        for update in range(1, 6):
            for host in order:  # none begins an update that the other has not begun
                monkeypatch.setattr(stopping, "asked", lambda at, host=host: at >= 3 and host.index in asked)
                if host.asked(update):
                    ends.setdefault(host.index, update)
        assert ends == {0: 4, 1: 4}


def test_a_process_alone_stops_where_it_is_asked(monkeypatch):
    monkeypatch.setattr(stopping, "asked", lambda update: update == 3)
    assert [update for update in range(1, 5) if Hosts().asked(update)] == [3]


def test_others_get_what_the_first_has_done(pair):
    done = []
    work = lambda: done.append(1) or {"loss": float("inf")}
    assert pair[0].at_first(work, shared=True) == {"loss": float("inf")}
    assert pair[1].at_first(work, shared=True) == {"loss": float("inf")}
    assert pair[0].at_first(lambda: object()) is not None, "what is not shared may be anything"
    assert pair[1].at_first(work) is None
    assert done == [1]


def test_all_stop_where_the_work_of_the_first_is_broken_off(pair):
    def work():
        raise stopping.Stopped

    for host in pair:
        with pytest.raises(stopping.Stopped):
            host.at_first(work)


def test_other_data_is_refused(pair):
    pair[0].alike("data", "a" * 64)
    with pytest.raises(Refused, match="process 1 has other data than process 0: bbbbbbbbbbbb and aaaaaaaaaaaa"):
        pair[1].alike("data", "b" * 64)


def test_who_leaves_says_why(pair, monkeypatch):
    monkeypatch.setattr(hosts.time, "sleep", lambda seconds: None)
    for error, code, together in (
        (Refused("no"), 2, False),
        (stopping.Stopped("update 3 is saved"), 75, True),
        (FloatingPointError("the loss of update 3 is nan"), 1, True),
        (MemoryError(), 1, False),
    ):
        pair[1].leave(error)
        said = json.loads(pair[1]._client.kept["flaxmask/ended/1"])
        assert (said["code"], said["together"]) == (code, together)
        assert said["text"] == (str(error) or "MemoryError")


def test_one_process_shares_nothing():
    tree = {"x": np.arange(3)}
    assert Hosts().from_first(tree) is tree
    assert Hosts().at_first(lambda: tree) is tree
    with hosts.met(None):
        assert hosts.first()
