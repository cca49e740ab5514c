"""SIGTERM and Ctrl-C: at once, or when the block that runs asks."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from flaxmask import stopping

SLEEPER = """
import hashlib, signal, sys
from flaxmask import stopping

with stopping.listening():
    print("ready", flush=True)
    # Out of Python for long, as a compilation is: no handler is called meanwhile.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
"""


@pytest.fixture(autouse=True)
def handlers():
    """As they were; SIGTERM stays ignored behind a block that it stopped."""
    before = {number: signal.getsignal(number) for number in stopping.EXIT_CODES}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def listen(body):
    with stopping.listening():
        body()


def ask(number=signal.SIGTERM, then_wait=0.01):
    os.kill(os.getpid(), number)
    time.sleep(then_wait)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_whatever_runs_ends_at_once(number, code, capfd):
    with pytest.raises(stopping.Stopped) as stopped:
        listen(lambda: ask(number) or pytest.fail("it went on"))
    assert (stopped.value.by, stopped.value.exit_code) == (number, code)
    assert f"{stopping.name_of(number)}: saving, then ending" in capfd.readouterr().err


def test_what_is_deferred_asks_itself():
    seen = []

    def body():
        with stopping.deferred():
            seen.append(stopping.asked(1))
            ask()
            seen.extend((stopping.asked(2), stopping.by()))
        seen.append("went on behind the block")

    with pytest.raises(stopping.Stopped):
        listen(body)
    assert seen == [False, True, signal.SIGTERM]


def test_an_error_of_a_deferred_block_is_not_hidden():
    def body():
        with stopping.deferred():
            ask()
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        listen(body)


def test_a_part_of_what_is_deferred_may_end_at_once():
    seen = []

    def body():
        with stopping.deferred():
            try:
                with stopping.at_once():
                    ask()
                    seen.append("went on")
            except stopping.Stopped:
                seen.append("deferred again")

    with pytest.raises(stopping.Stopped):
        listen(body)
    assert seen == ["deferred again"]


def test_what_was_asked_before_such_a_part_ends_it():
    def body():
        with stopping.deferred():
            ask()
            with stopping.at_once():
                pytest.fail("it began")

    with pytest.raises(stopping.Stopped):
        listen(body)


def test_handlers_are_as_they_were_afterwards():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stopping.listening():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert signal.set_wakeup_fd(-1) == -1
    stopping.check()


def test_sigterm_said_again_does_not_take_the_exit_code():
    with pytest.raises(stopping.Stopped):
        listen(ask)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    ask()


def test_what_is_ignored_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        listen(lambda: ask(signal.SIGINT))
    except stopping.Stopped:
        pytest.fail("it was heeded")


def test_another_thread_than_the_main_one_changes_nothing():
    """As in a notebook's executor, where Python would raise."""
    found = []

    def elsewhere():
        with stopping.listening(), stopping.deferred():
            found.extend(signal.getsignal(number) for number in stopping.EXIT_CODES)

    wanted = [signal.getsignal(number) for number in stopping.EXIT_CODES]
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == wanted


def test_a_second_ctrl_c_ends_even_what_python_cannot_break_off():
    command = [sys.executable, "-c", SLEEPER]
    # Whoever started the tests may have had them ignore Ctrl-C.
    heed = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline() == "run.py: Ctrl-C: saving, then ending; Ctrl-C again ends it at once\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
        assert "ended at once" in process.stderr.read()
