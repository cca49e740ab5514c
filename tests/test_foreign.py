"""Files that anybody may have written."""

import dataclasses
import os
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from flaxmask import foreign
from flaxmask.foreign import check_name, contain, fault, parse, read_bytes
from flaxmask.names import Refused


class Line(TypedDict):
    row: str
    seed: int
    note: NotRequired[str]


@dataclasses.dataclass
class Progress:
    steps: int = 0
    plan: str = ""


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("a", str, ""),
        (1, str, "expected str, found 1"),
        (True, int, "expected int, found True"),
        (1, float, ""),
        (True, float, "expected float, found True"),
        (float("nan"), float, ""),
        (float("inf"), float, ""),
        (1e101, float, "expected float, found 1e+101"),
        (10**400, float, "expected float, found an int of 1329 bits"),
        (2**63, int, "expected int, found an int of 64 bits"),
        (None, int | None, ""),
        ("x", int | None, "expected int or None, found 'x'"),
        ("b", Literal["a", "b"], ""),
        (True, Literal[1], "expected 1, found True"),
        ([1, "x"], list[int], "1: expected int, found 'x'"),
        ({"a": {"b": 1.5}}, dict[str, dict[str, int]], "a.b: expected int, found 1.5"),
        ({"row": "a", "seed": 0, "more": 1}, Line, ""),
        ({"row": "a"}, Line, "seed is missing"),
        ({"row": "a", "seed": 0, "note": 1}, Line, "note: expected str, found 1"),
        ([], Line, "expected dict, found a list of 0"),
        ({"steps": 1}, Progress, ""),
        ({"steps": "1"}, Progress, "steps: expected int, found '1'"),
        ({"stepz": 1}, Progress, "stepz is unknown"),
        ("x" * 99, int, f"expected int, found '{'x' * 35}…'"),
        (object(), Any, ""),
    ],
)
def test_the_first_place_that_is_wrong(value, kind, said):
    assert fault(value, kind) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested too deep"),
        ("[" * 51 + "]" * 51, "nested too deep"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("9" * 5000, "Exceeds the limit"),
        ("[1]", "expected dict of int"),
        ('{"a": 1e400}', "a: expected int, found inf"),
    ],
)
def test_json_that_is_refused(text, said):
    with pytest.raises(Refused, match=rf"^here: not readable \({said}") as caught:
        parse(text, dict[str, int], "here", "remove it")
    assert str(caught.value).endswith("; remove it")
    assert len(str(caught.value)) < 200


def test_json_that_is_not():
    deep = "[" * 50 + "]" * 50
    assert parse(deep, Any, "here") is not None
    assert parse('{"a": 1, "b": 2}', dict[str, int], "here") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "name", ["..", "../a", "a/../b", "/a", "a//b", "a/", "", ".", "a\0", "\x1b[2J", "a\nb", "a" * 201]
)
def test_names_that_lead_elsewhere(name):
    with pytest.raises(Refused, match="cannot be the name of a file"):
        check_name(name, "the row")


@pytest.mark.parametrize(
    "name", ["multi30k/en-de, padded", "attention of [CLS]", "source's", "…", "猫", "a..b", "a\\..\\b"]
)
def test_names_that_do_not(name):
    check_name(name, "the row")


def test_a_folder_that_leads_nowhere_else(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a").mkdir(parents=True)
    outside.mkdir()
    (root / "a" / "file").write_text("x")
    (root / "inside").symlink_to("a/file")
    (root / "wandb").mkdir()
    (root / "wandb" / "log").symlink_to(outside)
    contain(root, but=("wandb",))
    contain(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(root)
    contain(tmp_path / "link", but=("wandb",))
    for number, to in enumerate((outside, "../../outside", "/dev/zero", "again", outside / "not there")):
        link = root / "a" / "again"
        link.symlink_to(to)
        with pytest.raises(Refused, match=r"again is a link (to what lies outside|that leads nowhere)"):
            contain(root, but=("wandb",))
        link.unlink()
        assert number < 5
    os.mkfifo(root / "a" / "pipe")
    with pytest.raises(Refused, match="pipe is no file and no folder: remove it"):
        contain(root, but=("wandb",))


def test_files_of_a_bounded_size(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(Refused, match="larger than"):
        read_bytes(tmp_path / "a", 4)
    with pytest.raises(Refused, match="it is no file"):
        read_bytes(tmp_path)
    with pytest.raises(Refused, match="Not a directory"):
        read_bytes(tmp_path / "a" / "b")
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "b")
    (tmp_path / "a").write_bytes(b"a\xff")
    with pytest.raises(Refused, match="byte 2 is no UTF-8"):
        foreign.read_text(tmp_path / "a")


def test_a_refusal_is_one_line_that_a_terminal_shows():
    assert str(Refused("a\nb\x1b[2J\u202e")) == r"a\nb\x1b[2J\u202e"
