"""Our data sets: what their files hold, and what becomes of bad ones."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from flaxmask.data.sources import BUILDERS, names, open_split, split_of
from flaxmask.data.sources.files import File, content, lines
from flaxmask.data.sources.length_histograms import BERT, from_program, length_histograms
from flaxmask.data.sources.multi30k import file_of, read_pairs
from flaxmask.data.sources.sentence_polarity import ARCHIVE, MEMBERS, read_archive
from flaxmask.data.sources.tatoeba import EN_ZH, read_rows
from flaxmask.data.sources.wikitext2 import TRAIN, files_of
from flaxmask.data.sources.wnut17 import FILES, TAGS, read_sentences
from flaxmask.names import Missing, Refused
from tests.data.sources.published import need

SPLITS = ("train", "validation", "test")


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing is prepared."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return tmp_path


def sizes(name: str) -> list[int]:
    return [len(open_split(name, split)) for split in SPLITS]


def put(folder, monkeypatch, data: bytes) -> File:
    """A file of a test's own, with the hash that it should have."""
    monkeypatch.setenv("FLAXMASK_DATA", str(folder))
    name = hashlib.sha256(data).hexdigest()
    (folder / name).write_bytes(data)
    return File(name, None, name)


@pytest.mark.parametrize(
    "name", [name for name in names() if name not in BUILDERS or not BUILDERS[name].BUILDER_CONFIGS]
)
def test_every_data_set_says_what_it_is(name, fresh):
    key, _, config = name.partition("/")
    info = BUILDERS[key](data_dir=fresh, config=config or None, file_format="array_record").info
    assert len(info.description) > 30
    assert info.citation.startswith("@")
    assert "year={" in info.citation
    assert info.homepage.startswith("http")
    assert info.redistribution_info.license
    assert info.features is not None
    if config:
        assert len(BUILDERS[key].builder_configs[config].description) > 15


def test_names_are_those_of_tfds():
    assert all(builder.name == name for name, builder in BUILDERS.items())


FIRST = {
    ("en-de", "en"): "Two young, White males are outside near many bushes.",
    ("en-de", "de"): "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    ("en-fr", "fr"): "Deux jeunes hommes blancs sont dehors près de buissons.",
    ("en-de-tok", "en"): "two young , white males are outside near many bushes .",
    ("en-fr-tok", "fr"): "deux jeunes hommes blancs sont dehors près de buissons .",
}


@pytest.mark.parametrize(("config", "language"), FIRST)
def test_multi30k(config, language):
    one, other, *tok = config.split("-")
    needed = {split: [file_of(split, side, bool(tok)) for side in (one, other)] for split in SPLITS}
    need(*(file for pair in needed.values() for file in pair))
    pairs = {split: list(read_pairs(*files)) for split, files in needed.items()}
    assert [len(pairs[split]) for split in SPLITS] == [29_000, 1_014, 1_000]
    assert pairs["train"][0][(one, other).index(language)] == FIRST[config, language]
    assert all(all(pair) for found in pairs.values() for pair in found)


def test_multi30k_is_prepared(fresh):
    need(*(file_of(split, language) for split in SPLITS for language in ("en", "de")))
    assert sizes("multi30k") == [29_000, 1_014, 1_000]
    pairs = list(read_pairs(file_of("test", "en"), file_of("test", "de")))
    found = open_split("multi30k/en-de", "test")
    assert sorted((record["en"], record["de"]) for record in found.records()) == sorted(pairs)


def test_sides_that_do_not_run_in_step_are_refused(tmp_path, monkeypatch):
    two, one = put(tmp_path, monkeypatch, b"a\nb\n"), put(tmp_path, monkeypatch, b"a\n")
    with pytest.raises(Refused, match=f"^{two} has 2 lines and {one} has 1: they must run in step$"):
        list(read_pairs(two, one))


def test_tatoeba(fresh):
    need(EN_ZH)
    rows = list(read_rows(lines(EN_ZH), EN_ZH))
    assert len(rows) == 32_028
    assert rows[0][:2] == ("Hi.", "嗨。")
    assert "CC-BY 2.0" in rows[0][2]
    assert sum(sizes("tatoeba/en-zh")) == 32_028
    for split in SPLITS:
        assert {split_of(record["en"]) for record in open_split("tatoeba", split).records()} == {split}


def test_a_row_of_other_columns_is_refused():
    with pytest.raises(Refused, match=r"^t, line 2: expected English, Chinese and attribution, found 2 columns$"):
        list(read_rows(["a\tb\tc", "a\tb"], "t"))


def test_wnut17(fresh):
    need(*FILES.values())
    assert sizes("wnut17") == [3_394, 1_009, 1_287]
    split = open_split("wnut17", "train")
    assert split.labels == {"tags": TAGS}
    assert len(TAGS) == 13
    assert TAGS[:2] == ("O", "B-corporation")
    records = list(split.records())
    assert sum(len(record["tokens"]) for record in records) == 62_730
    assert all(len(record["tokens"]) == len(record["tags"]) > 0 for record in records)
    words, tags = next(read_sentences(lines(FILES["train"]), "train"))
    assert words[:4] == ["@paulwalk", "It", "'s", "the"]
    assert list(zip(words, tags, strict=True))[14:17] == [
        ("Empire", "B-location"),
        ("State", "I-location"),
        ("Building", "I-location"),
    ]


def test_lines_between_sentences():
    texts = ["\t", "a\tO", "b\tB-person", " \t ", "", "c\tO"]
    assert list(read_sentences(texts, "t")) == [(["a", "b"], ["O", "B-person"]), (["c"], ["O"])]


@pytest.mark.parametrize(
    ("line", "said"),
    [("b\tB-persn", "line 3: 'B-persn' is no tag; known: O, "), ("b O", "line 3: expected a word, a tab and a tag")],
)
def test_a_bad_tag_is_refused(line, said):
    with pytest.raises(Refused, match=f"^train, {said}"):
        list(read_sentences(["a\tO", "", line], "train"))


def test_sentence_polarity(fresh):
    need(ARCHIVE)
    pairs = list(read_archive(content(ARCHIVE), ARCHIVE))
    assert len(pairs) == 10_662
    assert [label for _, label in pairs] == ["negative"] * 5_331 + ["positive"] * 5_331
    assert pairs[0] == ("simplistic , silly and tedious .", "negative")
    assert any("é" in text for text, _ in pairs)
    assert not any("Ã" in text for text, _ in pairs)

    assert sum(sizes("sentence_polarity")) == 10_662
    for split in SPLITS:
        found = open_split("sentence_polarity", split)
        assert found.labels == {"label": ("negative", "positive")}
        records = list(found.records())
        assert {split_of(record["text"], held_out=10) for record in records} == {split}
        assert {(r["text"], found.labels["label"][r["label"]]) for r in records} <= set(pairs)
        assert len(records) / len(pairs) == pytest.approx(0.8 if split == "train" else 0.1, abs=0.01)


def test_an_archive_without_its_members_is_refused():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"sentence_polarity/{MEMBERS['negative']}", "bad")
    for data in (packed.getvalue(), b"no zip"):
        with pytest.raises(Refused, match=r"^z: expected a zip with rt-polarity\.neg and rt-polarity\.pos"):
            list(read_archive(data, "z"))


def test_wikitext2_keeps_the_order_and_the_empty_lines(fresh):
    need(*files_of("rebuilt").values())
    assert sizes("wikitext2/rebuilt") == [25_438, 3_760, 4_358]
    texts = [record["text"] for record in open_split("wikitext2/rebuilt", "validation").records()]
    assert texts == lines(files_of("rebuilt")["validation"])
    assert texts[:3] == [" ", " = Homarus gammarus = ", " "]


def test_the_rebuilt_text_cannot_be_downloaded(fresh, monkeypatch):
    monkeypatch.setattr("flaxmask.data.sources.files.present", lambda file: None)
    with pytest.raises(Missing, match=r"^wikitext-2/train.txt.xz .* at \$FLAXMASK_DATA/wikitext-2/train.txt.xz$"):
        open_split("wikitext2/rebuilt", "train")
    assert not list(fresh.glob("wikitext2/*/1*")), "what was not finished is not taken for prepared"
    assert TRAIN["canonical"].url is not None


def test_length_histograms():
    need(BERT)
    found = length_histograms()
    assert {name: (counts.shape, counts.dtype) for name, counts in found.items()} == {
        "wikipedia_512": ((512,), np.int64),
        "squad_1_1_384": ((384,), np.int64),
    }
    assert found["wikipedia_512"].sum() == 16_279_552
    assert found["squad_1_1_384"].sum() == 88_641
    assert found["wikipedia_512"][4] == 1_821, "no sequence is shorter than five tokens"


@pytest.mark.parametrize("data", [b"[]x", b'{"a": ["x"]}', b'{"a": [[1], [2, 3]]}', b'{"a": [-1]}', b'{"a": 1}', b"3"])
def test_what_is_no_histogram_is_refused(tmp_path, monkeypatch, data):
    file = put(tmp_path, monkeypatch, data)
    with pytest.raises(Refused, match=f"^{file}: "):
        length_histograms(file)


def test_tfds_knows_no_other_data_set_of_these_names():
    assert all(tfds.builder_cls(name) is builder for name, builder in BUILDERS.items())


def test_length_histograms_are_read_from_the_published_program():
    """Laid out as upstream lays it out; the bytes are those of the copy that is kept as JSON."""
    need(BERT)
    lists = json.loads(content(BERT))
    rows = lambda counts: "".join(
        f"        {', '.join(map(str, counts[i : i + 14]))},\n" for i in range(0, len(counts), 14)
    )
    program = "import numpy as np\n" + "".join(
        f"{name} = np.array(\n    [\n        # fmt: off\n{rows(lists[key])}    ],\n    dtype=int,\n)\n{name[:4]} = 5\n"
        for name, key in (("wikipedia_histogram", "wikipedia_512"), ("squad_1_1_histogram", "squad_1_1_384"))
    )
    assert from_program(program.encode()) == content(BERT)


@pytest.mark.parametrize("published", [b"moved elsewhere", b"x = 1", b"wikipedia_histogram = np.array([1])"])
def test_a_program_that_moved_is_refused(tmp_path, monkeypatch, published):
    monkeypatch.setattr("flaxmask.data.sources.files._fetch", lambda url, mend: published)
    monkeypatch.setattr("flaxmask.data.sources.files.folders", lambda: [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Refused, match=r"histograms\.py: not what it was .*place the file at \$FLAXMASK_DATA"):
        length_histograms()
