"""A run that is asked to stop: by SIGTERM from a scheduler, or by Ctrl-C. No jax here.

Whatever runs ends at once, by an exception as that of Ctrl-C is, but for what is `deferred`: training asks after each
update whether it is to stop, and saves a checkpoint first. Only who listens is stopped so; a notebook does not, and its
interrupt stays Python's own.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}
"""75 is EX_TEMPFAIL of sysexits.h: try again. 130 is the shells' own for Ctrl-C, which nobody wants tried again."""
SHOW_CURSOR = b"\x1b[?25h"


class _Request:
    """What was asked of this process; signals are one process's, and so is this."""

    number: signal.Signals | None = None
    deferred = False


class Stopped(KeyboardInterrupt):
    """The run was asked to stop, and can go on from what it has kept; the message says what that is.

    Attributes:
      by: the signal; that of a scheduler where another process got it.
    """

    def __init__(self, kept: str = ""):
        super().__init__(kept)
        self.by = _Request.number or signal.SIGTERM

    @property
    def exit_code(self) -> int:
        """Of the process."""
        return EXIT_CODES[self.by]


def asked(update: int) -> bool:
    """Whether a run is to stop now.

    Several processes must decide alike, or some would wait for the others for ever: see `hosts.Hosts.asked`.

    Args:
      update: the last one that is done; all processes ask after the same ones.
    """
    return _Request.number is not None


def by() -> signal.Signals | None:
    """Which signal asked the process to stop."""
    return _Request.number


def check():
    """Between two pieces of work: stop here if that was asked.

    Raises:
      Stopped: it was. An exception that a signal raised may be lost within another's callback, so it is asked for too.
    """
    if _Request.number is not None:
        raise Stopped


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """SIGTERM and Ctrl-C stop what runs in this block; a second Ctrl-C ends the process at once.

    In a thread that is not the main one nothing changes: only the main one may say what signals do. A signal that is
    ignored, as a shell's background job ignores Ctrl-C, stays ignored; and so does SIGTERM behind a block that it
    stopped, since schedulers send it twice, and the second would take the exit code of a process that is ending.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Request.number, _Request.deferred = None, False
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    thread = threading.Thread(target=_answer, args=(reader,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        if _Request.number == signal.SIGTERM:
            before[signal.SIGTERM] = signal.SIG_IGN
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        writer.close()
        thread.join()
        reader.close()
        _Request.number = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A block that is not broken off; it asks by itself. Stops behind it, if it did not."""
    before, _Request.deferred = _Request.deferred, True
    try:
        yield
    finally:
        _Request.deferred = before
    if not before:
        check()


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A block within a deferred one that may be broken off."""
    before, _Request.deferred = _Request.deferred, False
    try:
        check()
        yield
    finally:
        _Request.deferred = before


def _stop(number: int, _):
    """A signal's handler. Python calls it in the main thread, once what runs there outside of Python is done."""
    _Request.number = _Request.number or signal.Signals(number)
    if not _Request.deferred:
        raise Stopped


def _answer(signals: socket.socket):
    """Says what a signal will do, and ends the process at the second Ctrl-C, while the main thread may be compiling."""
    presses, told = 0, False
    while number := signals.recv(1):
        if number[0] not in EXIT_CODES:
            continue
        presses += number[0] == signal.SIGINT
        if presses > 1:
            end_at_once("ended at once", EXIT_CODES[signal.SIGINT])
        if not told:
            again = "; Ctrl-C again ends it at once" if number[0] == signal.SIGINT else ""
            os.write(2, f"\nrun.py: {name_of(number[0])}: saving, then ending{again}\n".encode())
            told = True


def end_at_once(text: str, code: int):
    """End the process from any thread, whatever the main one does, with a line on stderr."""
    os.write(2, (SHOW_CURSOR if sys.stderr.isatty() else b"") + f"\nrun.py: {text}\n".encode())
    os._exit(code)


def name_of(number: int) -> str:
    """What people call a signal.

    >>> name_of(signal.SIGINT), name_of(signal.SIGTERM)
    ('Ctrl-C', 'SIGTERM')
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
