"""Files: found, fetched, verified, refused. Downloads come from a server in this process, or are made to fail."""

import dataclasses
import gzip
import hashlib
import http.client
import http.server
import lzma
import threading
import urllib.request

import pytest

from flaxmask.data.sources import files
from flaxmask.data.sources.files import File, content, find, lines
from flaxmask.names import Missing, Refused

TEXT = "one\ntwo\u2028three\r\n\n😀\x85 four\n".encode()
HASH = hashlib.sha256(TEXT).hexdigest()
FILE = File("corpus/text.gz", None, HASH)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A data folder, and a cache, with nothing in them; no other place is looked at."""
    monkeypatch.setenv("FLAXMASK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files.flaxmask, "__file__", str(tmp_path / "a" / "b" / "flaxmask" / "__init__.py"))
    return tmp_path


def put(place, packed: bytes):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(packed)
    return place


@pytest.fixture
def server(monkeypatch):
    """`serve(answer)` gives the URL of a server that sends `answer`: bytes, a status, or bytes and a false length; or,
    of a text, leads on to there. It speaks no TLS, and neither does this test's side of it.
    """
    running = []
    plain = urllib.request.HTTPSHandler()
    plain.https_open = lambda request: plain.do_open(http.client.HTTPConnection, request)
    monkeypatch.setattr(files, "_OPENER", urllib.request.build_opener(files._Secure, plain))

    def serve(answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body, length = answer if isinstance(answer, tuple) else (answer, None)
                if isinstance(body, str):
                    self.send_response(302)
                    self.send_header("Location", body)
                    self.end_headers()
                    return
                if isinstance(body, int):
                    self.send_error(body)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        running.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"https://127.0.0.1:{running[-1].server_port}/text.gz"

    yield serve
    for one in running:
        one.shutdown()
        one.server_close()


def refusal(call, *arguments, kind: type[Refused] = Refused) -> str:
    with pytest.raises(Refused) as caught:
        call(*arguments)
    assert caught.type is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bytes], ids=["gz", "xz", "plain"])
def test_lines_are_the_same_however_the_file_is_packed(places, pack):
    put(places / "data" / FILE.path, pack(TEXT))
    assert lines(FILE) == ["one", "two\u2028three", "", "😀\x85 four"]


def test_files_are_found_in_order(places):
    spots = [places / "data", places / "a" / "shared" / "data", places / "cache" / "flaxmask" / "data"]
    for spot in reversed(spots):
        put(spot / FILE.path, TEXT)
        assert find(FILE) == spot / FILE.path


def test_home_is_where_the_cache_is_by_default(places, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(places))
    assert files.cache() == places / ".cache" / "flaxmask" / "data"


def test_a_download_is_kept_and_not_repeated(places, server, monkeypatch):
    file = dataclasses.replace(FILE, url=server(gzip.compress(TEXT)))
    assert content(file) == TEXT
    monkeypatch.setattr(files, "_OPENER", None)
    kept = places / "cache" / "flaxmask" / "data" / FILE.path
    assert content(file) == TEXT
    assert find(file) == kept
    assert [path.name for path in kept.parent.iterdir()] == ["text.gz"], "no partial file stays"


def test_a_wrong_file_is_refused_and_not_passed_over(places):
    put(places / "a" / "shared" / "data" / FILE.path, TEXT)
    wrong = put(places / "data" / FILE.path, gzip.compress(TEXT + b"more\n"))
    message = refusal(lines, FILE)
    assert message.startswith(f"{wrong}: its content has SHA-256 ")
    assert HASH in message
    assert hashlib.sha256(TEXT + b"more\n").hexdigest() in message
    assert "remove the file" in message


@pytest.mark.parametrize("packed", [gzip.compress(TEXT), lzma.compress(TEXT)], ids=["gz", "xz"])
@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:10] + b"\xff" * 30, lambda b: b[:8]])
def test_a_damaged_archive_is_refused(places, packed, damage):
    broken = put(places / "data" / FILE.path, damage(packed))
    message = refusal(lines, FILE)
    assert message.startswith(f"{broken}: ")
    assert "damaged or cut off" in message


def test_a_folder_is_no_file(places):
    (places / "data" / FILE.path).mkdir(parents=True)
    assert "could not read" in refusal(lines, FILE)


def test_nothing_to_download_from():
    message = refusal(find, dataclasses.replace(FILE, origin="made by hand"), kind=Missing)
    assert message == (
        "corpus/text.gz is not here and cannot be downloaded (made by hand): "
        "place the file at $FLAXMASK_DATA/corpus/text.gz"
    )


def test_no_network():
    message = refusal(find, dataclasses.replace(FILE, url="https://127.0.0.1:1/text.gz"), kind=Missing)
    assert message.startswith("could not download https://127.0.0.1:1/text.gz (")
    assert message.endswith("Connection refused): place the file at $FLAXMASK_DATA/corpus/text.gz")


def test_a_page_that_is_gone(server):
    url = server(404)
    message = refusal(find, dataclasses.replace(FILE, url=url), kind=Missing)
    assert f"could not download {url} (404 Not Found): place" in message


def test_a_download_that_breaks_off(places, server):
    file = dataclasses.replace(FILE, url=server((TEXT, len(TEXT) + 1000)))
    assert f"cut off after {len(TEXT)} of {len(TEXT) + 1000} bytes" in refusal(find, file, kind=Missing)
    assert not (places / "cache").exists()


def test_an_upstream_that_has_changed(places, server):
    file = dataclasses.replace(FILE, url=server(b"<html>moved</html>"))
    message = refusal(find, file)
    assert message.startswith(f"{file.url}: its content has SHA-256 ")
    assert message.endswith("place the file at $FLAXMASK_DATA/corpus/text.gz")
    assert not (places / "cache").exists(), "what is not right is not kept"


def test_a_cache_that_cannot_be_written(places, server):
    put(places / "cache", b"no folder")
    file = dataclasses.replace(FILE, url=server(TEXT))
    assert "could not keep" in refusal(find, file)


@pytest.mark.parametrize(
    ("line", "said"),
    [(b"caf\xe9", "byte 4 (0xe9) is no UTF-8"), (b"a\0b", "NUL"), (b"\xed\xa0\x80", "is no UTF-8")],
)
def test_what_is_no_text_is_refused_with_its_line(places, line, said):
    data = b"fine\n" + line + b"\n"
    put(places / "data" / "t", data)
    message = refusal(lines, File("t", None, hashlib.sha256(data).hexdigest()))
    assert message.startswith("t, line 2: ")
    assert said in message


def test_only_one_carriage_return_ends_a_line(places):
    data = b"a\r\r\nb\x0bc\x1cd"
    put(places / "data" / "t", data)
    assert lines(File("t", None, hashlib.sha256(data).hexdigest())) == ["a\r", "b\x0bc\x1cd"]


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "//a", "HTTPS://a"]
)
def test_downloads_go_over_https_alone(url):
    assert refusal(File, "corpus/a", url, HASH) == f"corpus/a: downloads go over https alone, not {url}"


@pytest.mark.parametrize("path", ["../a", "/etc/a", "corpus/../../a"])
def test_a_file_lies_in_the_data_folder(path):
    assert "leads out of the data folder" in refusal(File, path, None, HASH)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 64 + "\n", "Z" * 64])
def test_a_file_has_a_digest(digest):
    assert "expected a SHA-256" in refusal(File, "corpus/a", None, digest)


def test_a_redirect_is_followed_to_https_alone(places, server):
    there = server(TEXT)
    assert content(dataclasses.replace(FILE, url=server(there))) == TEXT
    for elsewhere in (there.replace("https", "http"), "ftp://127.0.0.1/a", "file:///etc/passwd"):
        message = refusal(find, dataclasses.replace(FILE, path="b", url=server(elsewhere)), kind=Missing)
        assert f"it leads on to {elsewhere}, which is not https" in message or "redirect" in message.lower()
    assert not (places / "cache" / "flaxmask" / "data" / "b").exists()


def test_what_is_too_large_is_not_unpacked(places, server, monkeypatch):
    monkeypatch.setattr(files, "MOST", 1 << 20)
    bomb = bytes((1 << 20) + 10)
    for number, packed in enumerate((gzip.compress(bomb), lzma.compress(bomb), bomb)):
        file = File(f"bomb/{number}", server(packed), hashlib.sha256(bomb).hexdigest())
        assert "more than 1 MiB" in refusal(find, file)
    put(places / "data" / "bomb" / "3", bomb)
    assert "larger than the 1 MiB" in refusal(find, File("bomb/3", None, hashlib.sha256(bomb).hexdigest()))
