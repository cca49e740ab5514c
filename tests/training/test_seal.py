"""Seals over plain files."""

import pytest

from flaxmask.training import seal


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    for name, content in (("meta", b"{}"), ("state/d/a", b"abc"), ("state/d/empty", b"")):
        (tmp_path / name).write_bytes(content)
    seal.seal(tmp_path)
    return tmp_path


def test_what_is_as_it_was_has_no_fault(folder):
    (folder / "SHA256SUMS.tmp").write_bytes(b"half of it")
    (folder / ".DS_Store").write_bytes(b"the desktop's")
    assert seal.is_sealed(folder)
    assert seal.fault(folder) is None


def test_a_bit_of_every_byte_counts_those_of_the_seal_too(folder):
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
        content = path.read_bytes()
        for byte in range(len(content)):
            changed = bytearray(content)
            changed[byte] ^= 1 << byte % 8
            path.write_bytes(changed)
            assert path.relative_to(folder).as_posix() in str(seal.fault(folder)), f"byte {byte} of {path}"
        path.write_bytes(content)
    assert seal.fault(folder) is None


def test_every_truncation_counts_too(folder):
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
        content = path.read_bytes()
        for length in range(0, len(content), 7):
            path.write_bytes(content[:length])
            assert path.relative_to(folder).as_posix() in str(seal.fault(folder)), f"{length} bytes of {path}"
        path.write_bytes(content)


def test_a_file_that_is_gone_is_named(folder):
    (folder / "state" / "d" / "a").unlink()
    assert seal.fault(folder) == "state/d/a is missing"


def test_an_empty_folder_is_no_checkpoint(tmp_path):
    for name in ("3", "12", "epochs", "7.orbax-checkpoint-tmp"):
        (tmp_path / name).mkdir()
    for name in ("12/file", "epochs/file", "7.orbax-checkpoint-tmp/file"):
        (tmp_path / name).write_bytes(b"")
    assert seal.steps(tmp_path) == [12]
    assert seal.steps(tmp_path / "none") == []
