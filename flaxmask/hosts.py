"""Processes that fill one table together, on one host or several. jax is imported when they meet.

The first process keeps the run's folder: it alone reads and writes there, judges the model and draws the figures; the
others train with it, and wait meanwhile. What they have to tell each other goes through the coordination service of
`jax.distributed`, which is the first process's; only parameters go from device to device.

A process that ends tells the others why, and they end too. One that dies cannot tell: its heartbeats stop.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flaxmask import stopping
from flaxmask.names import Failed, Refused

HEARTBEAT = 10
"""Seconds without one after which a process counts as gone. jax's own threads give them, whatever Python does."""
LONGEST = 6 * 3600.0
"""Seconds that processes wait for the first, which evaluates, or waits for a folder."""
GRACE = 10.0
"""Seconds that a process has to end by itself once another has ended."""
MEETING = 300
"""Seconds that a process waits for the others to be started."""
LOST = 75
"""Exit code where another process is gone: EX_TEMPFAIL, try again."""
AGAIN = "the same command on all hosts goes on from the newest checkpoint"


_LIBC = ctypes.CDLL(None)


class Place(NamedTuple):
    """Which process this is.

    Attributes:
      address: of the first process, with a port; None has jax find all three.
      processes: how many there are.
      process: this one's number, from 0.
    """

    address: str | None = None
    processes: int | None = None
    process: int | None = None


def parse(text: str) -> Place:
    """What `--distributed` says.

    Raises:
      Refused: it says something else.

    >>> parse("auto"), parse("10.0.0.1:1234,2,1")
    (Place(address=None, processes=None, process=None), Place(address='10.0.0.1:1234', processes=2, process=1))
    """
    if text == "auto":
        return Place()
    found = re.fullmatch(r"([^\s,]+:(\d{1,5})),(\d{1,6}),(\d{1,6})", text)
    if found is None:
        raise Refused(
            f"--distributed {text}: expected auto, or HOST:PORT,COUNT,INDEX such as 10.0.0.1:1234,2,0 for the first "
            f"of two processes and 10.0.0.1:1234,2,1 for the second"
        )
    address, port, count, index = found.group(1), *map(int, found.groups()[1:])
    if not 0 < port < 2**16:
        raise Refused(f"--distributed {text}: {port} is no port, which are 1 to {2**16 - 1}")
    if index >= count:
        raise Refused(f"--distributed {text}: of {count} process(es) the index is 0 to {count - 1}, not {index}")
    return Place(address, count, index)


class Hosts:
    """One of several processes, as the others see it.

    Args:
      client: of the coordination service, `jax.distributed`'s; None is a process alone.
      index: of this one.
      count: how many there are.
    """

    def __init__(self, client: Any = None, index: int = 0, count: int = 1):
        self._client, self.index, self.count = client, index, count
        self._calls = 0
        self._ending, self._mind = client is None, threading.Lock()
        self._ears, self._over = list[threading.Thread](), threading.Event()

    def asked(self, update: int) -> bool:
        """Whether all processes are to stop after this update, where any was asked to, see `stopping.asked`.

        Who was asked names the next update. None of the others can be past it, since it takes all of them, and all ask
        behind it: so all see the same.

        Args:
          update: the last one that is done.
        """
        if self.count == 1:
            return stopping.asked(update)
        at = self._get("stop_after")
        if at is None and stopping.asked(update):
            self._set("stop_after", str(update + 1))
        if at is None or int(at) > update:
            return False
        self._close()
        return True

    def at_first(self, work: Callable[[], Any], shared: bool = False) -> Any:
        """Have the first process do something for which the others wait.

        Args:
          work: is called by the first process.
          shared: whether all get its result, which is then of JSON's types; else the others get None.

        Raises:
          Stopped: in all processes, where the work was broken off.
        """
        if self.count == 1:
            return work()
        self._calls += 1
        key = f"first/{self._calls}"
        if self.index:
            said = json.loads(self._wait(key))
            if "stopped" in said:
                self._close()
                raise stopping.Stopped
            return said["result"]
        try:
            result = work()
        except stopping.Stopped:
            self._close()
            self._set(key, json.dumps({"stopped": True}))
            raise
        self._set(key, json.dumps({"result": result if shared else None}))
        return result

    def from_first(self, tree: Any) -> Any:
        """Arrays as the first process has them, bit by bit; all processes have them in these shapes."""
        if self.count == 1:
            return tree
        import jax
        import numpy as np
        from jax.experimental import multihost_utils

        tree = jax.tree.map(np.asarray, tree)
        # As bytes: they are added up, and a negative zero plus zero is none.
        sent = jax.tree.map(lambda x: np.ascontiguousarray(x).reshape(-1).view(np.uint8), tree)
        got = multihost_utils.broadcast_one_to_all(sent)
        back = lambda x, bits: np.asarray(bits, np.uint8).view(x.dtype).reshape(x.shape)
        return jax.tree.map(back, tree, got)

    def alike(self, what: str, mine: str):
        """Refuse to go on where processes differ.

        Args:
          what: is the same in all.
          mine: this process's.

        Raises:
          Refused: it is not; the message names the process.
        """
        first = self.at_first(lambda: mine, shared=True)
        if mine != first:
            raise Refused(f"process {self.index} has other {what} than process 0: {mine[:12]} and {first[:12]}")

    def watch(self):
        """Hear in threads that another process has ended, is gone, or was asked to stop."""
        for ear in (self._hear, self._count_live):
            self._ears.append(threading.Thread(target=ear, daemon=True))
            self._ears[-1].start()

    def leave(self, error: BaseException):
        """Tell the others by what this process ends. What an error of theirs led to here, they tell first."""
        known = isinstance(error, Refused | Failed | FloatingPointError | KeyboardInterrupt)
        if not known:
            time.sleep(HEARTBEAT + GRACE / 2)
        self._close()
        if isinstance(error, stopping.Stopped):
            with contextlib.suppress(Exception):
                self._set("asked", str(int(error.by)))
        code = error.exit_code if isinstance(error, stopping.Stopped) else 2 if isinstance(error, Refused) else 1
        together = isinstance(error, stopping.Stopped | FloatingPointError)
        text = str(error).split("\n")[0] or type(error).__name__
        self._tell({"code": code, "text": text, "together": together, "stopped": isinstance(error, stopping.Stopped)})

    def finish(self):
        """Part from the others, when the first has done all."""
        if self.count > 1:
            self.at_first(lambda: None)
            self._close()
            self._tell({"code": 0, "text": "", "together": True, "stopped": False})

    def _close(self):
        """From here on this process ends by itself, and waits for no other."""
        with self._mind:
            self._ending = True

    def _tell(self, said: dict[str, Any]):
        """Tell it, and part; the service may be gone, or not answer."""
        telling = threading.Thread(target=self._part, args=(said,), daemon=True)
        telling.start()
        telling.join(2 * GRACE)

    def _part(self, said: dict[str, Any]):
        """Tell it, and disconnect; the first process does when the others have, since the service ends with it.

        Python aborts where a thread comes back from C++ while it ends, so the ears are closed before.
        """
        import jax

        with contextlib.suppress(Exception):
            self._set(f"ended/{self.index}", json.dumps(said))
            end = time.monotonic() + GRACE
            while self.index == 0 and len(self._live()) > 1 and time.monotonic() < end:
                time.sleep(0.1)
            self._over.set()
            for ear in self._ears:
                ear.join(GRACE)
            jax.distributed.shutdown()
            if _Handler.kept is not None:
                _LIBC.signal(signal.SIGABRT, 0)

    def _live(self) -> set[int]:
        """The processes whose hearts beat; all of these must ask."""
        return {*self._client.get_live_nodes(list(range(self.count)))}

    def _ended(self) -> dict[int, dict[str, Any]]:
        found = self._client.key_value_dir_get("flaxmask/ended/")
        return {int(key.rsplit("/", 1)[1]): json.loads(said) for key, said in found}

    def _hear(self):
        """Hand on what was asked of this process or of another, and end after another did."""
        told, since = False, {}
        with contextlib.suppress(Exception):  # the service is gone, and that is told by others
            while not self._over.wait(0.3):
                asked = self._get("asked")
                if stopping.by() is None and asked is not None and not told:
                    told = True
                    with self._mind:  # who is ending already may listen to signals no more
                        if not self._ending:
                            os.kill(os.getpid(), int(asked))
                elif (by := stopping.by()) is not None and asked is None:
                    self._set("asked", str(int(by)))
                for index, said in self._ended().items():
                    if index == self.index or said["code"] == 0:
                        continue
                    late = time.monotonic() - since.setdefault(index, time.monotonic())
                    patience = LONGEST if said["together"] and self._ending else GRACE / 2
                    if late > patience:
                        self._end(f"process {index} of {self.count} ended: {said['text']}", said["code"])

    def _count_live(self):
        """End after another process has died."""
        with contextlib.suppress(Exception):
            while not self._over.wait(1.0):
                gone = {*range(self.count)} - self._live() - {*self._ended()}
                if gone and not self._ending:
                    names = ", ".join(map(str, sorted(gone)))
                    self._end(
                        f"process {names} of {self.count} is gone (no heartbeat for {HEARTBEAT} s); {AGAIN}", LOST
                    )

    def _end(self, text: str, code: int):
        """End this process from a thread, whatever the others wait for."""
        if self.index == 0:
            with contextlib.suppress(Exception):
                self._set("ended/0", json.dumps({"code": code, "text": text, "together": False, "stopped": False}))
        stopping.end_at_once(text, code)

    def _wait(self, key: str) -> str:
        end = time.monotonic() + LONGEST
        while time.monotonic() < end:
            try:
                return self._client.blocking_key_value_get(f"flaxmask/{key}", 500)
            except RuntimeError as error:  # in between, signals are heard
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise
        raise TimeoutError(f"process {self.index} waited {LONGEST / 3600:.0f} hours for process 0")

    def _get(self, key: str) -> str | None:
        try:
            return self._client.key_value_try_get(f"flaxmask/{key}")
        except RuntimeError as error:
            if "NOT_FOUND" not in str(error):
                raise
            return None

    def _set(self, key: str, value: str):
        self._client.key_value_set(f"flaxmask/{key}", value, allow_overwrite=True)


_ALONE = Hosts()
_here = _ALONE


def here() -> Hosts:
    """The process that runs here, as one of several or alone."""
    return _here


def first() -> bool:
    """Whether this process is the one that keeps the run's folder."""
    return _here.index == 0


@contextlib.contextmanager
def met(place: Place | None) -> Iterator[None]:
    """Meet the other processes, before jax does anything, and part from them; None is a process alone.

    Raises:
      Refused: they are not found, or did not come.
    """
    if place is None:
        yield
        return
    here = _meet(place)
    try:
        yield
    except BaseException as error:
        here.leave(error)
        raise
    here.finish()


def _meet(place: Place) -> Hosts:
    global _here
    # Its warning is that what keeps a run from being ended with a page of C++ is experimental.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import jax
    from jax._src import distributed  # what keeps keys is not public

    if _here is _ALONE:
        handler = signal.getsignal(signal.SIGTERM)
        # Else jax ends a process whose peer has died with a page of C++; and takes SIGTERM, which `stopping` answers.
        jax.config.update("jax_enable_recoverability", True)
        if hasattr(jax.config, "jax_enable_preemption_service"):
            jax.config.update("jax_enable_preemption_service", False)
        try:
            jax.distributed.initialize(*place, heartbeat_timeout_seconds=HEARTBEAT, initialization_timeout=MEETING)
        except (RuntimeError, ValueError) as error:
            raise _unmet(place, error) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        _here = Hosts(distributed.global_state.client, jax.process_index(), jax.process_count())
        _end_plainly(_here)
        _here.watch()
    counts = [sum(d.process_index == i for d in jax.devices()) for i in range(_here.count)]
    if len({*counts}) > 1:
        raise Refused(f"processes have {', '.join(map(str, counts))} devices: each needs as many as the others")
    return _here


def _unmet(place: Place, error: Exception) -> Refused:
    said = str(error).split("\n")[0]
    if place.address is None:
        mend = "jax knows no cluster here; say which process this is with --distributed HOST:PORT,COUNT,INDEX"
    else:
        mend = f"are all {place.processes} processes started, with this address of the first, and is its port free?"
    return Refused(f"--distributed: {mend} ({said})")


def _end_plainly(here: Hosts):
    """Say in a line why jax's coordination ends this process, as it does at once where the first has died.

    It calls `abort`, behind a page of C++; Python's own handlers would come too late, so this one is C's.
    """
    text = f"process 0 of {here.count} is gone, which keeps the others together; {AGAIN}"
    _Handler.kept = _Handler.type(lambda number: stopping.end_at_once(text, LOST))
    _LIBC.signal(signal.SIGABRT, _Handler.kept)


class _Handler:
    """What C calls must not be collected."""

    type = ctypes.CFUNCTYPE(None, ctypes.c_int)
    kept: Any = None
