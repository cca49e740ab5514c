"""Published files: where they lie, where they come from, and the proof that they are the right ones."""

import dataclasses
import gzip
import hashlib
import http.client
import io
import lzma
import os
import re
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import flaxmask
from flaxmask import foreign
from flaxmask.data.sources.lines import decode_all
from flaxmask.names import Missing, Refused

SECONDS = 60
"""How long a download may stand still."""

MOST = 1 << 28
"""Bytes of a file, packed or not (256 MiB); ours have a tenth of that."""

_UNPACK: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\x00": lzma.open}
"""By the first bytes and not by the name: an upstream may be plain where our copy is compressed."""


@dataclasses.dataclass(frozen=True)
class File:
    """A file that somebody published.

    Attributes:
      path: below a data folder, such as "multi30k/raw/train.en.gz".
      url: where it is published; None where nobody publishes exactly this content.
      sha256: of the content, unpacked from gz or xz; of the file itself where it is anything else (a zip, too).
      origin: what the content was made from, where there is no `url`.
      convert: makes the content of what is published at `url`; None takes it as it is.
    """

    path: str
    url: str | None
    sha256: str
    origin: str = ""
    convert: Callable[[bytes], bytes] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        if self.url is not None and not self.url.startswith("https://"):
            raise Refused(f"{self.path}: downloads go over https alone, not {self.url}")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise Refused(f"{self.path}: expected a SHA-256, got {self.sha256!r}")
        if PurePosixPath(self.path).is_absolute() or ".." in PurePosixPath(self.path).parts:
            raise Refused(f"{self.path}: leads out of the data folder")

    def __str__(self) -> str:
        return self.path


def folders() -> list[Path]:
    """Where files are looked for before anything is downloaded: `$FLAXMASK_DATA`, then beside the checkout."""
    named = os.environ.get("FLAXMASK_DATA")
    beside = Path(flaxmask.__file__).parent.parent.parent / "shared" / "data"
    return [*([Path(named).expanduser()] if named else []), beside]


def cache() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flaxmask" / "data"


def present(file: File) -> Path | None:
    """Where the file lies already, if it does."""
    return next((folder / file.path for folder in (*folders(), cache()) if (folder / file.path).exists()), None)


def find(file: File) -> Path:
    """Where the file lies, downloading it where it does not; its content is verified.

    Raises:
      Missing: it is not here and could not be downloaded.
      Refused: it is here, and is not what it should be; or what its URL gives is not.
    """
    return _verified(file)[0]


def content(file: File) -> bytes:
    """The verified content of a file, unpacked; it is found as `find` finds it."""
    return _verified(file)[1]


def lines(file: File) -> list[str]:
    """The verified lines of a text file, without their ends."""
    return decode_all(content(file), file)


def _verified(file: File) -> tuple[Path, bytes]:
    place = present(file)
    if place is None:
        return _download(file)
    try:
        packed = foreign.read_bytes(place, MOST)
    except FileNotFoundError as error:
        raise Refused(f"could not read {place} ({error.strerror})") from None
    return place, _check(file, packed, str(place), "remove the file, so that it is found elsewhere or downloaded again")


def _check(file: File, packed: bytes, name: str, mend: str) -> bytes:
    """The content, if it has the hash that it should have; `name` and `mend` go into the refusal."""
    try:
        data = next(
            (_unpacked(opened, packed) for magic, opened in _UNPACK.items() if packed.startswith(magic)), packed
        )
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Refused(f"{name}: damaged or cut off ({error}): {mend}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise Refused(f"{name}: its content has SHA-256 {found}, expected {file.sha256}: {mend}")
    return data


def _unpacked(opened: Callable[..., Any], packed: bytes) -> bytes:
    """All of it, but for what a few bytes may be a bomb of."""
    with opened(io.BytesIO(packed)) as stream:
        data = stream.read(MOST + 1)
    if len(data) > MOST:
        raise OSError(f"more than {MOST >> 20} MiB")
    return data


def _download(file: File) -> tuple[Path, bytes]:
    mend = f"place the file at $FLAXMASK_DATA/{file.path}"
    if file.url is None:
        raise Missing(
            f"{file.path} is not here and cannot be downloaded ({file.origin or 'nobody publishes it'}): {mend}"
        )
    packed = _converted(file, _fetch(file.url, mend), mend)
    data = _check(file, packed, file.url, mend)
    place = cache() / file.path
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".", delete=False) as partial:
            partial.write(packed)
        # Under its name only once it is whole: another process, or the next run, takes it as it stands.
        os.replace(partial.name, place)
    except OSError as error:
        raise Refused(
            f"could not keep {file.url} at {place} ({error.strerror}): set $XDG_CACHE_HOME, or {mend}"
        ) from None
    return place, data


def _converted(file: File, packed: bytes, mend: str) -> bytes:
    try:
        return file.convert(packed) if file.convert else packed
    except (
        ValueError,
        LookupError,
        SyntaxError,
        RecursionError,
        MemoryError,
    ) as error:  # the last two: nested too deep
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Refused(f"{file.url}: not what it was ({reason}): {mend}") from None


class _Secure(urllib.request.HTTPRedirectHandler):
    """Follows to https alone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """The request to follow with."""
        if not newurl.startswith("https://"):
            said = f"it leads on to {newurl}, which is not https"
            raise urllib.error.HTTPError(req.full_url, code, said, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Secure)


def _fetch(url: str, mend: str) -> bytes:
    """The bytes at a URL, all of them."""
    request = urllib.request.Request(url, headers={"User-Agent": "flaxmask"})
    try:
        with _OPENER.open(request, timeout=SECONDS) as response:
            data = response.read(MOST + 1)
            if len(data) > MOST:
                raise Refused(f"{url}: more than {MOST >> 20} MiB: {mend}")
            expected = int(response.headers.get("Content-Length", len(data)))
    except http.client.IncompleteRead as error:
        data, expected = error.partial, len(error.partial) + (error.expected or 0)
    except urllib.error.HTTPError as error:
        with error:
            raise Missing(f"could not download {url} ({error.code} {error.reason}): {mend}") from None
    except Refused:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise Missing(f"could not download {url} ({reason}): {mend}") from None
    if len(data) != expected:
        raise Missing(f"download of {url} was cut off after {len(data)} of {expected} bytes: try again, or {mend}")
    return data
