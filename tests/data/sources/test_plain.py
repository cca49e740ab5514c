"""Anybody's own text files: read as they were written, or refused with the line."""

import gzip
import json
import os
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flaxmask.data.sources import open_plain, split_of
from flaxmask.names import Refused

SPLITS = ("train", "validation", "test")
# Any character that may stand inside a line: scripts of all kinds, emoji, U+2028, control characters, a lone CR within.
characters = st.characters(codec="utf-8", exclude_characters="\n\r\0")
texts = st.text(characters, max_size=20)
cells = st.text(characters.filter(lambda c: c != "\t"), max_size=10)
blanks = st.sampled_from(["", " ", " \t", "\u3000"])
odd = "😀 ܫܠܡܐ 𞤀 \u2028 \x85 \x1c e\u0301"


def written(folder, name: str, rows: list[str], end: str = "\n", last: str = "\n"):
    data = (end.join(rows) + last).encode() if rows else b""
    path = folder / name
    path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    return str(path)


def read(path: str, split: str):
    """Records and skipped counts; none where a file is refused for holding no record."""
    try:
        found = open_plain(path, split)
    except Refused as refused:
        assert re.search("holds no record|none of its", str(refused))  # noqa: PT017, no record is an answer here
        return [], None
    records = list(found.records())
    assert len(found) == len(records)
    assert list(found.records(most=2)) == records[:2]
    return records, found.skipped


def is_record(row: str) -> bool:
    return bool(row) and not row.isspace()


files = given(
    rows=st.lists(st.one_of(texts, blanks), max_size=12),
    end=st.sampled_from(["\n", "\r\n"]),
    suffix=st.sampled_from([".txt", ".txt.gz"]),
)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@files
@example(rows=[odd, "", " ", odd + " "], end="\r\n", suffix=".txt.gz")
def test_lines_are_read_as_written_and_all_are_counted(tmp_path, rows, end, suffix):
    written(tmp_path, f"one.train{suffix}", rows, end)
    records, skipped = read(str(tmp_path / f"one.{{split}}{suffix}"), "train")
    wanted = [row for row in rows if is_record(row)]
    # Only a mark at the very start of a file is no part of its text.
    if rows and rows[0].startswith("\ufeff"):
        return
    assert [record["text"] for record in records] == wanted
    if skipped is not None:
        assert len(records) + sum(skipped.values()) == len(rows)
        assert skipped.get("empty", 0) == rows.count("")


@quick
@files
def test_splits_by_hash_share_the_lines_out(tmp_path, rows, end, suffix):
    path = written(tmp_path, f"all{suffix}", ["first", *rows], end)
    found = {split: read(path, split) for split in SPLITS}
    assert not found["validation"][1]
    assert not found["test"][1]
    read_rows = [record["text"] for records, _ in found.values() for record in records]
    assert sorted(read_rows) == sorted(row for row in ["first", *rows] if is_record(row))
    skipped = found["train"][1]
    assert skipped is None or len(read_rows) + sum(skipped.values()) == len(rows) + 1, "blank lines count once"
    for split, (records, _) in found.items():
        assert all(split_of(record["text"]) == split for record in records)


@quick
@given(
    rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8), suffix=st.sampled_from([".tsv", ".tsv.gz"])
)
@example(rows=[(odd, "", " b "), ("", "c", "")], suffix=".tsv")
def test_columns_are_read_as_written(tmp_path, rows, suffix):
    rows = [("x" + one, other, third) for one, other, third in rows]
    written(tmp_path, f"train{suffix}", ["\t".join(row) for row in rows])
    records, _ = read(str(tmp_path / f"{{split}}{suffix}"), "train")
    assert records == [{"1": one, "2": other, "3": third} for one, other, third in rows]


values = st.one_of(texts, st.integers(), st.booleans(), st.none(), st.lists(texts, max_size=3))


@quick
@given(rows=st.lists(st.fixed_dictionaries({"text": texts, odd: values}), min_size=1, max_size=8), ascii=st.booleans())
def test_objects_are_read_as_written(tmp_path, rows, ascii):
    written(tmp_path, "train.jsonl", [json.dumps(row, ensure_ascii=ascii) for row in rows], last="")
    assert read(str(tmp_path / "{split}.jsonl"), "train")[0] == rows


def test_later_objects_may_have_more_keys(tmp_path):
    written(tmp_path, "train.jsonl", ['{"a": 1}', '{"a": 2, "b": 3}', '{"a": 4}'])
    assert read(str(tmp_path / "{split}.jsonl"), "train")[0] == [{"a": 1}, {"a": 2, "b": 3}, {"a": 4}]


def test_a_mark_at_the_start_of_the_file_is_no_text(tmp_path):
    written(tmp_path, "train.txt", ["\ufeffa", "\ufeffb"])
    assert read(str(tmp_path / "{split}.txt"), "train")[0] == [{"text": "a"}, {"text": "\ufeffb"}]


def test_shares_are_those_of_the_hash(tmp_path):
    path = written(tmp_path, "all.txt", [f"line {i}" for i in range(4000)])
    sizes = {split: len(open_plain(path, split)) for split in SPLITS}
    assert sum(sizes.values()) == 4000
    assert 150 < sizes["validation"] < 250
    assert 150 < sizes["test"] < 250


def test_the_file_is_not_held_in_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "train.txt"
    path.write_text(("x" * 9_999 + "\n") * 2_000)
    tracemalloc.start()
    total = sum(len(record["text"]) for record in open_plain(str(tmp_path / "{split}.txt"), "train").records())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 2_000 * 9_999
    assert peak < 1_000_000


def refusal(path: str, split: str = "train") -> str:
    with pytest.raises(Refused) as caught:
        list(open_plain(path, split).records())
    assert "\n" not in str(caught.value)
    return str(caught.value)


BAD = {
    "cut.tsv": (b"a\tb\n\nc\n", "line 3: expected 2 columns as in the first row, found 1"),
    "wide.tsv": (b"a\tb\nc\td\te\n", "line 2: expected 2 columns as in the first row, found 3"),
    "no.jsonl": (b'{"a": 1}\n{"a": \n', "line 2: expected a JSON object (Expecting value"),
    "list.jsonl": (b"[1]\n", "line 1: expected a JSON object, found list"),
    "key.jsonl": (b'{"b": 0, "a": 1}\n{"c": 2}\n', "line 2: lacks 'a', 'b', which the first object has"),
    "deep.jsonl": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1: expected a JSON object ("),
    "half.jsonl": (b'{"a": "\\ud83d"}\n', "line 1: expected a JSON object ('utf-8' codec can't encode"),
    "latin.txt": (b"fine\ncaf\xe9\n", "line 2: byte 4 (0xe9) is no UTF-8"),
    "nul.txt": (b"a\0b\n", "line 1: holds a NUL"),
    "wide.txt": ("a".encode("utf-16"), "line 1: byte 1 (0xff) is no UTF-8"),
    "none.txt": (b"", "holds no record: expected lines of .txt"),
    "blank.txt": (b"\n \n", "holds no record: expected lines of .txt"),
    "table.csv": (b"a,b\n", "cannot tell what its lines hold; expected a name that ends in .tsv, .jsonl, .txt, or"),
    "table.csv.gz": (b"", "cannot tell what its lines hold"),
    "name": (b"a\n", "cannot tell what its lines hold"),
    "plain.txt.gz": (b"not packed\n", "damaged or cut off (Not a gzipped file"),
    "short.txt.gz": (gzip.compress(b"a line\n" * 99)[:-12], "damaged or cut off (Compressed file ended"),
    "spoilt.txt.gz": (gzip.compress(b"")[:10] + b"\xff" * 30, "damaged or cut off (Error -3"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_the_line(tmp_path, name):
    data, said = BAD[name]
    (tmp_path / name).write_bytes(data)
    assert refusal(str(tmp_path / name)).startswith(
        f"{tmp_path / name}{', ' if said.startswith('line') else ': '}{said}"
    )


def test_a_missing_file_is_refused(tmp_path):
    assert refusal(f"{tmp_path}/{{split}}.txt") == f"could not open {tmp_path}/train.txt (No such file or directory)"


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "a.txt").mkdir()
    assert refusal(f"{tmp_path}/a.txt") == f"could not open {tmp_path}/a.txt (Is a directory)"


def test_an_unknown_split_is_refused(tmp_path):
    path = written(tmp_path, "a.txt", ["a"])
    assert f"{path} has no split 'trian'; did you mean 'train'?" in refusal(path, "trian")


def test_a_split_that_gets_nothing_is_refused(tmp_path):
    path = written(tmp_path, "a.txt", ["a"])
    (empty, _) = (split for split in SPLITS if split != split_of("a"))
    assert refusal(path, empty) == (
        f"{path}: none of its 1 records falls to {empty}: give more, or one file a split: {{split}}"
    )


def test_a_file_that_changes_after_it_was_opened_is_refused(tmp_path):
    path = written(tmp_path, "train.txt", ["a", "b"])
    split = open_plain(str(tmp_path / "{split}.txt"), "train")
    written(tmp_path, "train.txt", ["a", "c"])
    os.utime(path, ns=(0, 0))
    with pytest.raises(Refused, match="has changed since it was opened"):
        list(split.records())
