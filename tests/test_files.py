import errno
import os
import stat

import pytest

from flaxmask.files import unwritten, write_whole, writing
from flaxmask.names import Failed, Refused


def test_a_file_and_its_name_are_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)))
    write_whole(tmp_path / "new" / "file", "text")
    assert synced == [False, True], "the file, then the folder that names it"
    assert (tmp_path / "new" / "file").read_text() == "text"


def test_half_of_an_earlier_try_confuses_nobody(tmp_path):
    (tmp_path / "file.tmp").write_bytes(b"much longer than what comes, and cut")
    write_whole(tmp_path / "file", b"text")
    assert (tmp_path / "file").read_bytes() == b"text"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    write_whole(tmp_path / "file", "before")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(Failed, match=r"file cannot be written \(No space left; .* MiB are free there\): make room"):
        write_whole(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_library_s_own_error_is_understood(tmp_path):
    cleared = []
    with (
        pytest.raises(Failed, match=f"{tmp_path} cannot be written .No space left on device; "),
        writing(tmp_path, lambda: cleared.append(1)),
    ):
        raise ValueError('RESOURCE_EXHAUSTED: Error writing "a":\nNo space left on device [os_error_code=28]')
    assert cleared == [1]
    with pytest.raises(ValueError, match="something else"), writing(tmp_path):
        raise ValueError("something else")


def test_the_room_of_a_folder_that_is_not_there_yet(tmp_path):
    said = str(unwritten(OSError(errno.EACCES, "Permission denied"), tmp_path / "a" / "b"))
    assert "Permission denied" in said
    assert "see to it" in said
    assert "\n" not in said


def test_what_stands_in_the_way_is_refused(tmp_path):
    (tmp_path / "table.csv").mkdir()
    (tmp_path / "figures").write_text("x")
    for path in (tmp_path / "table.csv", tmp_path / "figures" / "a.png"):
        with pytest.raises(Refused, match=rf"{path} cannot be written \(.*\): remove what stands there"):
            write_whole(path, "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "table.csv"]
