"""TFDS data sets that somebody else prepared, read by their TFDS names."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.data_sources.base import BaseDataSource

from flaxmask.data.sources import open_split
from flaxmask.data.sources.wnut17 import FILES, Wnut17
from flaxmask.names import Missing, Refused
from tests.data.sources.published import need
from tests.data.sources.written import write

Text, Labels, Sequence = tfds.features.Text, tfds.features.ClassLabel, tfds.features.Sequence
TAGS = ["O", "B-PER", "I-PER"]

# The features of each as TFDS declares them (fewer names of tags), and records of their kind.
DATA_SETS = {
    "wmt14_translate/fr-en": (
        tfds.features.Translation(languages=("en", "fr")),
        [{"en": "Resumption of the session", "fr": "Reprise de la séance 😀"}, {"en": "", "fr": "\u2028"}],
        {},
    ),
    "ted_hrlr_translate/pt_to_en": (
        tfds.features.Translation(languages=("en", "pt")),
        [{"en": "and so on", "pt": "e assim por diante"}],
        {},
    ),
    "conll2003": (
        {
            "tokens": Sequence(Text()),
            "pos": Sequence(Labels(names=["NN", "VB"])),
            "chunks": Sequence(Labels(names=["B-NP", "O"])),
            "ner": Sequence(Labels(names=TAGS)),
        },
        [
            {"tokens": ["Ann", "ran"], "pos": [0, 1], "chunks": [0, 1], "ner": [1, 0]},
            {"tokens": [], "pos": [], "chunks": [], "ner": []},
        ],
        {"pos": ("NN", "VB"), "chunks": ("B-NP", "O"), "ner": tuple(TAGS)},
    ),
    "glue/sst2": (
        {"sentence": Text(), "label": Labels(names=["negative", "positive"]), "idx": np.int32},
        [{"sentence": "a fine film", "label": 1, "idx": 0}, {"sentence": "unlabelled", "label": -1, "idx": 1}],
        {"label": ("negative", "positive")},
    ),
    "gigaword": ({"document": Text(), "summary": Text()}, [{"document": "long", "summary": "short"}], {}),
    "squad": (
        {
            "id": Text(),
            "title": Text(),
            "context": Text(),
            "question": Text(),
            "answers": Sequence({"text": Text(), "answer_start": np.int32}),
        },
        [
            {
                "id": "1",
                "title": "t",
                "context": "c",
                "question": "q",
                "answers": {"text": ["x", "yé"], "answer_start": [3, 7]},
            },
        ],
        {},
    ),
    "cnn_dailymail": (
        {"article": Text(), "highlights": Text(), "publisher": Text(), "id": Text()},
        [{"article": "a" * 100_000, "highlights": "b\nc", "publisher": "cnn", "id": "1"}],
        {},
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    return tmp_path


def written(folder, name: str, records: list | None = None, **options) -> list[dict]:
    features, some, _ = DATA_SETS[name]
    features = features if isinstance(features, tfds.features.FeaturesDict) else tfds.features.FeaturesDict(features)
    write(folder, name, features, some if records is None else records, **options)
    return some


def refusal(name: str, split: str = "train", kind: type[Refused] = Refused) -> str:
    with pytest.raises(Refused) as caught:
        list(open_split(name, split).records())
    assert isinstance(caught.value, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets_of_tfds_are_read_by_their_names(folder, name):
    records = written(folder, name)
    split = open_split(name, "train")
    assert list(split.records()) == records
    assert len(split) == len(records)
    assert split.labels == DATA_SETS[name][2]
    assert split.skipped == {}
    assert "tensorflow" not in sys.modules


def test_labels_are_found_at_any_depth(folder):
    kind = {"kind": Labels(names=["a", "b"]), "where": {"side": Sequence(Labels(names=["left", "right"]))}}
    record = {"outer": {"kind": 1, "where": {"side": [0, 1]}}, "many": {"kind": [0, 1], "size": [2, 3]}}
    features = {"outer": kind, "many": Sequence({"kind": kind["kind"], "size": np.int64})}
    write(folder, "nested", tfds.features.FeaturesDict(features), [record])
    split = open_split("nested", "test")
    assert list(split.records()) == [record]
    assert split.labels == {"outer/kind": ("a", "b"), "outer/where/side": ("left", "right"), "many/kind": ("a", "b")}


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("most", [None, 0, 4, 99])
def test_records_come_in_order_whatever_the_chunk(folder, monkeypatch, chunk, most):
    numbered = [{"document": str(i), "summary": ""} for i in range(10)]
    written(folder, "gigaword", numbered)
    split = open_split("gigaword", "train")
    asked = []
    read = BaseDataSource.__getitems__
    monkeypatch.setattr(BaseDataSource, "__getitems__", lambda self, keys: asked.append(len(keys)) or read(self, keys))
    assert list(split.records(most, chunk)) == numbered[:most]
    assert max(asked, default=0) <= chunk


@pytest.mark.parametrize(("most", "chunk"), [(-1, 1), (1, 0)])
def test_bounds_that_make_no_sense(folder, most, chunk):
    written(folder, "gigaword")
    with pytest.raises(Refused, match="gigaword:train"):
        open_split("gigaword", "train").records(most, chunk)


def test_the_newest_version_is_read_unless_one_is_named(folder):
    for version in ("1.9.0", "1.10.0"):
        written(folder, "gigaword", [{"document": version, "summary": ""}], version=version)
    assert next(open_split("gigaword", "train").records())["document"] == "1.10.0"
    assert next(open_split("gigaword:1.9.0", "train").records())["document"] == "1.9.0"


def test_the_default_configuration_is_read_where_none_is_named(folder):
    records = written(folder, "glue/sst2")
    assert list(open_split("glue", "train").records()) == records


def test_what_is_not_prepared_is_refused_with_the_command(folder):
    assert refusal("wmt14_translate/fr-en", kind=Missing) == (
        f"data set 'wmt14_translate/fr-en' is none of ours (known: cmudict, multi30k, tatoeba, wnut17, "
        f"sentence_polarity, wikitext2) and not prepared in {folder}: TFDS needs TensorFlow to generate it, "
        f"where that is installed: `tfds build wmt14_translate/fr-en --file_format=array_record --data_dir={folder}`"
    )


def test_the_command_is_one_that_tfds_has():
    """Its command line needs TensorFlow even to start; its options are declared in modules that do not."""
    from tensorflow_datasets.scripts.cli import cli_utils

    fields = cli_utils.GenerationOptions.__dataclass_fields__ | cli_utils.PathOptions.__dataclass_fields__
    assert {"file_format", "data_dir"} <= set(fields)


def test_home_is_where_data_sets_are_by_default(folder, monkeypatch):
    written(folder / "tensorflow_datasets", "gigaword")
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(folder))
    assert len(open_split("gigaword", "train")) == 1


def test_another_format_is_refused_with_the_command(folder):
    written(folder, "gigaword")
    info = folder / "gigaword" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    message = refusal("gigaword", kind=Missing)
    assert message.startswith(f"{info.parent} is in the format tfrecord, and TFDS needs TensorFlow to read it: ")
    assert f"`tfds convert_format --dataset_version_dir={info.parent} --out_file_format=array_record`" in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cmudit", "did you mean 'cmudict'?"),
        ("multi-30k/en-de", "did you mean 'multi30k'?"),
        ("cmudict/standart", "data set cmudict has no configuration 'standart'; did you mean 'cmudict/standard'?"),
        ("wnut17/x", "data set wnut17 has no configuration 'x'"),
        ("", "data set '' is none of ours"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(folder, name, said):
    assert said in refusal(name)


@pytest.mark.parametrize("split", ["dev", "train[:10%]", ""])
def test_an_unknown_split_is_refused_with_those_there_are(folder, split):
    written(folder, "gigaword")
    assert refusal("gigaword", split) == f"gigaword has no split {split!r}; it has train, test"


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"x" * len(b), lambda b: b"", None])
def test_damaged_records_are_refused(folder, damage):
    written(folder, "gigaword")
    (shard,) = (folder / "gigaword" / "1.0.0").glob("gigaword-train*")
    shard.write_bytes(damage(shard.read_bytes())) if damage else shard.unlink()
    message = refusal("gigaword")
    assert message.startswith(f"{shard.parent} is damaged (")
    assert message.endswith("remove it, and prepare the data set again")


def test_what_is_no_text_is_refused(folder):
    written(folder, "gigaword", [{"document": "x", "summary": b"\xff"}])
    assert refusal("gigaword").startswith("gigaword:train, record 0, summary: is no UTF-8")


def test_a_folder_that_cannot_be_written_is_refused(folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "file"))
    assert refusal("cmudict").startswith(f"could not prepare cmudict in {folder / 'file'} (")


def test_a_data_set_that_another_process_prepared_meanwhile(folder, monkeypatch):
    write(folder, "wnut17", Wnut17(data_dir=folder).info.features, [{"tokens": ["a"], "tags": ["O"]}])

    def late(self):
        raise FileExistsError

    monkeypatch.setattr(Wnut17, "download_and_prepare", late)
    assert next(open_split("wnut17", "test").records()) == {"tokens": ["a"], "tags": [0]}


def test_preparing_says_nothing(folder, capfd):
    need(*FILES.values())
    open_split("wnut17", "test")
    assert capfd.readouterr() == ("", "")


def test_sources_start_without_jax_and_plain_ones_without_tfds():
    program = (
        "import sys, flaxmask.data.sources as s\n"
        "assert not {'jax', 'numpy', 'tensorflow_datasets'} & set(sys.modules)\n"
        "s.open_split; import flaxmask.data.sources.length_histograms\n"
        "assert not {'jax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
