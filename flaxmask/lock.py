"""One run at a time in a folder, by a lock that the kernel lets go when its holder dies. No jax here."""

import contextlib
import datetime
import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: nothing keeps a second run out there
    fcntl = None

from flaxmask.names import Refused

FILE = ".lock"


class InUse(Refused):
    """Another process holds the folder.

    Attributes:
      said: which, without the mend.
    """

    def __init__(self, directory: Path, holder: str):
        self.said = f"{directory} is in use by {holder}"
        super().__init__(f"{self.said}: wait for it with --wait, or name another folder with --workdir")


@contextlib.contextmanager
def held(directory: Path, wait: bool = False, say: Callable[[str], Any] = lambda text: None) -> Iterator[None]:
    """Hold a folder, which is made if it is not there, against all who ask in this way.

    The lock is the kernel's (`flock`), so one whose holder was killed is free; the file that carries it names the
    holder for people to read, and is removed with the lock. On NFS the server keeps the lock, for all its clients. A
    file system without locks is said so and used without. One that keeps them to each machine (Lustre's `localflock`,
    some FUSE) does not keep out a run on another machine; who runs there is then said to have ended.

    Args:
      directory: of a run.
      wait: until it is free, instead of refusing.
      say: gets what a user should know: that it waits, or whose lock it took over.

    Raises:
      InUse: another holds it, and `wait` is false.
      Refused: it is no folder, or cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = _take(directory / FILE, wait, say)
    except (FileExistsError, NotADirectoryError):
        file = next(path for path in (directory, *directory.parents) if path.exists())
        raise Refused(f"{file} is a file: name a folder with --workdir") from None
    except PermissionError as error:
        raise Refused(f"{directory}: {error.strerror}; name another folder with --workdir") from error
    with file:
        if before := _holder(file):
            say(f"{directory}: taken over from {before}, which ended without releasing it")
        _name_holder(file)
        try:
            yield
        finally:
            (directory / FILE).unlink(missing_ok=True)  # while it is held: see `_take`


def _take(path: Path, wait: bool, say: Callable[[str], Any]) -> IO[str]:
    """The file, open and locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            if not _lock(file, say):
                holder = _holder(file) or "another process"
                if not wait:
                    raise InUse(path.parent, holder)
                say(f"waiting for {path.parent}, which is in use by {holder}")
                _lock(file, say, wait)
            # Who held it before has removed its file, perhaps after it was opened here: then it locks nothing.
            if _lies_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lies_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[str], say: Callable[[str], Any], wait: bool = False) -> bool:
    """Whether the lock is held now; true as well where there are no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        say(f"{file.name}: no locks on this file system ({error.strerror}): keep other runs out of it yourself")
    return True


def _name_holder(file: IO[str]):
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now, "command": command}
    file.truncate(0)
    file.write(json.dumps(holder) + "\n")
    file.flush()


def _holder(file: IO[str]) -> str:
    """Whom the file names; "" if it does not, or not yet."""
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['pid']} on {holder['host']} since {holder['since']} ({holder['command']})"
    except (json.JSONDecodeError, KeyError, TypeError):
        return ""
