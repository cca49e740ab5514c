"""What a process does while it reads what it was given: code that it runs, processes, connections, files it writes."""

import contextlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn", "subprocess.Popen")
_ASKS = ("socket.connect", "socket.getaddrinfo", "urllib.Request", "webbrowser.open", "ftplib.connect")
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.chown")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OURS = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    sys.prefix,
    str(Path(__file__).parents[2]),
    "<frozen",
)
"""Where code lies that may run: what is imported late."""


class Watch:
    """Notes of a process from its audit hook, which stays for as long as the process lives."""

    def __init__(self, *allowed: Path):
        self._allowed = [path.resolve() for path in allowed]
        self._notes: list[str] | None = None
        self._known: set[object] = set()
        self._learns = False
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """What libraries run of themselves inside, from strings of their own, is not noted later."""
        with self.noting():
            self._learns = True
            yield
        self._learns = False

    @contextlib.contextmanager
    def noting(self) -> Iterator[list[str]]:
        """Gives the list to which is written what happens inside that should not."""
        self._notes = notes = []
        try:
            yield notes
        finally:
            self._notes = None

    def _hook(self, event: str, arguments: tuple[Any, ...]):
        notes, self._notes = self._notes, None  # what the hook itself does is not noted
        if notes is None:
            return
        try:
            if said := self._said(event, arguments):
                notes.append(said)
        finally:
            self._notes = notes

    def _said(self, event: str, arguments: tuple[Any, ...]) -> str:
        if event in (*_RUNS, *_ASKS, "pickle.find_class"):
            return f"{event} {arguments[:2]}"
        if event == "exec":
            return self._run(arguments[0])
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            return self._outside(event, arguments[0])
        if event in _CHANGES:
            return "".join(
                self._outside(event, one) for one in arguments[:2] if isinstance(one, str | bytes | os.PathLike)
            )
        return ""

    def _run(self, code: Any) -> str:
        if str(code.co_filename).startswith(OURS):
            return ""
        if self._learns:
            self._known.add(code)
        return "" if code in self._known else f"exec of {code.co_filename} {code.co_names} {code.co_consts}"[:200]

    def _outside(self, event: str, path: Any) -> str:
        if isinstance(path, int) or os.fsdecode(path) == os.devnull:
            return ""
        # A new name is where its folder is, whatever the name leads to.
        place = Path(os.path.realpath(os.fsdecode(path)))
        return "" if any(place.is_relative_to(root) for root in self._allowed) else f"{event} of {place}"
