"""One run at a time in a folder."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from flaxmask import lock
from flaxmask.names import Refused

HOLDER = """
import sys, time
from pathlib import Path
from flaxmask import lock

with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path):
    with lock.held(tmp_path):
        with pytest.raises(lock.InUse) as refused, lock.held(tmp_path):
            pytest.fail("both hold it")
        for part in (str(tmp_path), f"process {os.getpid()} on {os.uname().nodename} since 20", "--wait", "--workdir"):
            assert part in str(refused.value)
        assert "\n" not in str(refused.value)
        with pytest.raises(lock.InUse), lock.held(tmp_path):  # a refusal leaves the lock as it was
            pass
    with lock.held(tmp_path, say=pytest.fail):
        pass


def test_nothing_is_left_in_the_folder(tmp_path):
    with lock.held(tmp_path / "new" / "run"):
        assert json.loads((tmp_path / "new" / "run" / lock.FILE).read_text())["pid"] == os.getpid()
    assert list((tmp_path / "new" / "run").iterdir()) == []


def test_it_is_released_whatever_happens(tmp_path):
    with pytest.raises(KeyboardInterrupt), lock.held(tmp_path):
        raise KeyboardInterrupt
    with lock.held(tmp_path):
        pass


def test_one_waits_and_then_really_holds_it(tmp_path):
    """The file that it waited for is gone by then; a lock on what is no longer there keeps nobody out."""
    said, has, leave = [], threading.Event(), threading.Event()

    def wait():
        with lock.held(tmp_path, wait=True, say=lambda text: (said.append(text), waits.set())):
            has.set()
            leave.wait(5)

    waits = threading.Event()
    thread = threading.Thread(target=wait)
    with lock.held(tmp_path):
        thread.start()
        assert waits.wait(5)
        assert not has.is_set()
    assert has.wait(5)
    with pytest.raises(lock.InUse), lock.held(tmp_path):
        pytest.fail("both hold it")
    leave.set()
    thread.join()
    assert len(said) == 1
    assert f"waiting for {tmp_path}, which is in use by process {os.getpid()}" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_that_of_a_killed_process_is_taken_over(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(lock.InUse, match=f"process {process.pid} "), lock.held(tmp_path):
            pytest.fail("both hold it")
        process.send_signal(signal.SIGKILL)
        process.wait()
        said = []
        with lock.held(tmp_path, say=said.append):
            assert len(said) == 1
            assert f"taken over from process {process.pid} on" in said[0]
            assert json.loads((tmp_path / lock.FILE).read_text())["pid"] == os.getpid()


def test_a_cut_off_name_of_the_holder_is_no_holder(tmp_path):
    (tmp_path / lock.FILE).write_text('{"host": "a", "pi')
    with lock.held(tmp_path, say=pytest.fail):
        pass


def test_where_there_are_no_locks_one_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = []
    with lock.held(tmp_path, say=said.append):
        assert len(said) == 1
        assert "no locks on this file system (Operation not supported)" in said[0]


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(Refused, match="is a file: name a folder with --workdir"), lock.held(place):
            pytest.fail("it is held")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(Refused, match="Permission denied; name another folder"), lock.held(tmp_path):
        pytest.fail("it is held")


def test_a_system_without_such_locks_can_import_it(tmp_path):
    program = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from pathlib import Path; from flaxmask import commands, lock\n"
        "with lock.held(Path(sys.argv[1])): print(lock.fcntl)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
