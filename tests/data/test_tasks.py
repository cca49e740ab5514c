import dataclasses
import json

import numpy as np
import pytest

from flaxmask.data.batches import build_batch
from flaxmask.data.config import CATALOGUE, DataConfig
from flaxmask.data.layouts import make_layout
from flaxmask.data.tasks import load_task
from flaxmask.data.tasks.task import Reader
from flaxmask.data.tasks.text_to_text import prefix_row
from flaxmask.data.vocabulary import BOS, EOS, PAD
from flaxmask.names import Refused
from tests.data.sources.written import write

PAIRS = [("a man", "ein Mann"), ("two men", "zwei Männer"), ("a red car", "ein rotes Auto")] * 4


def plain(tmp_path, name: str, lines, **settings) -> DataConfig:
    """A configuration that reads these lines as every split."""
    for split in ("train", "validation", "test"):
        (tmp_path / name.replace("{split}", split)).write_bytes(
            b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n"
        )
    return DataConfig(path=str(tmp_path / name), **{"tokenizer": "words", **settings})


def pairs(tmp_path, **settings):
    lines = ["\t".join(pair) for pair in PAIRS]
    return load_task(plain(tmp_path, "{split}.tsv", lines, **{"task": "text_to_text", **settings}))


def tagged(tmp_path, records, **settings):
    lines = [json.dumps(record) for record in records]
    settings = {"task": "tagging", "source": "tokens", "target": "tags", **settings}
    return load_task(plain(tmp_path, "{split}.jsonl", lines, **settings))


def batch_of(task, count=2):
    data = task.train
    [placement] = make_layout(DataConfig(layout="static", batch_examples=count), data.lengths[:count]).place(
        np.arange(count), data.lengths[:count]
    )
    return build_batch(data, placement, task.noise)


def test_text_to_text_reads_pairs(tmp_path):
    task = pairs(tmp_path)
    assert task.source_vocabulary is task.target_vocabulary
    assert len(task.train) == 12
    assert task.streams == ("source", "target")
    decode = task.target_vocabulary.decode
    for i, (source, target) in enumerate(PAIRS):
        assert decode(task.train.source[i].tolist()) == source
        assert decode(task.train.labels[i].tolist()) == target
        assert task.train.target[i].tolist() == [BOS, *task.train.labels[i][:-1]]
        assert task.references[i] == [target]


def test_two_vocabularies_where_they_are_not_shared(tmp_path):
    task = pairs(tmp_path, share_vocabulary=False)
    assert "man" in task.source_vocabulary.symbols
    assert "man" not in task.target_vocabulary.symbols


def test_keys_join_and_look_inside(tmp_path):
    records = [{"question": "who?", "context": "Ann came.", "answers": {"text": ["Ann", "she"]}}] * 3
    config = plain(
        tmp_path,
        "{split}.jsonl",
        [json.dumps(record) for record in records],
        task="text_to_text",
        source="question+context",
        target="answers/text",
    )
    task = load_task(config)
    assert task.source_vocabulary.decode(task.train.source[0].tolist()) == "who? Ann came."
    assert task.target_vocabulary.decode(task.train.labels[0].tolist()) == "Ann"
    assert task.references[0] == ["Ann", "she"]


def test_a_prefix_lm_sees_the_source_and_predicts_the_target(tmp_path):
    task = pairs(tmp_path, task="prefix_lm")
    batch = batch_of(task, 1)
    assert batch.source is None
    source, target = (task.source_vocabulary.encode(text) for text in PAIRS[0])
    length = len(source) + len(target)
    assert batch.target.ids[0, :length].tolist() == [*source, BOS, *target[:-1]]
    assert batch.target.prefix[0, :length].tolist() == [True] * len(source) + [False] * len(target)
    weighted = batch.weights[0] > 0
    assert batch.labels[0, weighted].tolist() == target
    assert weighted.tolist().index(True) == len(source), "the beginning mark predicts the first"
    assert not batch.target.prefix[0, length:].any()


def test_a_prefix_and_its_target_are_cut_each_by_itself():
    row = prefix_row([5, 6, 7, 8, EOS], [9, 10, 11, EOS], length=3)
    assert row.target == [5, 6, EOS, BOS, 9, 10]
    assert row.labels == [PAD] * 3 + [9, 10, EOS]
    assert row.cut


def test_the_first_piece_of_a_word_carries_its_tag(tmp_path):
    words = ["Annabella", "saw", "Paris"] * 3
    task = tagged(tmp_path, [{"tokens": words, "tags": ["PER", "O", "LOC"] * 3}] * 2, tokenizer="characters")
    row, labels, weights = (part[0].tolist() for part in (task.train.source, task.train.labels, task.train.weights))
    pieces = task.source_vocabulary.encode_words(words)
    assert row == [piece for word in pieces for piece in word] + [EOS]
    assert max(map(len, pieces)) > 1, "or the test sees nothing"
    first = np.cumsum([0, *map(len, pieces[:-1])])
    assert np.flatnonzero(weights).tolist() == first.tolist()
    assert task.target_vocabulary.decode([labels[i] for i in first]) == "PER O LOC " * 2 + "PER O LOC"
    assert task.target_vocabulary.symbols == ("LOC", "O", "PER")


def test_words_and_tags_may_stand_in_columns(tmp_path):
    task = load_task(plain(tmp_path, "{split}.tsv", ["Ann saw Paris\tPER O LOC"], task="tagging"))
    assert task.references == [["PER O LOC"]]
    assert task.source_vocabulary.symbols == ("Ann", "Paris", "saw")


def test_classification_puts_the_label_on_the_beginning_mark(tmp_path):
    lines = ["good film\tpositive", "bad film\tnegative"] * 3
    task = load_task(plain(tmp_path, "{split}.tsv", lines, task="classification"))
    batch = batch_of(task)
    assert batch.source.ids[:, 0].tolist() == [BOS, BOS]
    assert batch.weights.sum(axis=1).tolist() == [1, 1]
    assert task.target_vocabulary.decode(batch.labels[:, 0].tolist()) == "positive negative"
    assert task.references[:2] == [["positive"], ["negative"]]


def test_a_causal_lm_predicts_each_token_from_those_before(tmp_path):
    task = load_task(plain(tmp_path, "{split}.txt", ["a b c", "", "c a"], task="lm"))
    assert task.streams == ("target",)
    ids = task.target_vocabulary.encode("a b c")
    assert task.train.target[0].tolist() == [BOS, *ids[:-1]]
    assert task.train.labels[0].tolist() == ids
    assert task.skipped == {"train: empty": 1, "test: empty": 1}
    assert task.counts["skipped_examples"] == 2


@pytest.mark.parametrize("task_name", ["lm", "mlm"])
def test_a_long_text_becomes_several_examples_and_none_is_lost(tmp_path, task_name):
    text = " ".join(f"w{i}" for i in range(25))
    task = load_task(plain(tmp_path, "{split}.txt", [text, "w1 w2"], task=task_name, length=10))
    assert task.train.lengths.max() == 10
    words = [i for row in range(len(task.train)) for i in task.train.labels[row].tolist() if i not in (BOS,)]
    assert task.target_vocabulary.decode([i for i in words if i != EOS]) == f"{text} w1 w2"
    assert task.counts["truncated_examples"] == 0


def test_a_masked_lm_asks_for_what_stood_there(tmp_path):
    text = " ".join(f"w{i}" for i in range(200))
    task = load_task(plain(tmp_path, "{split}.txt", [text] * 2, task="mlm", mask_rate=0.3))
    batch = batch_of(task)
    assert task.sizes == (len(task.source_vocabulary) + 1,) * 2, "the mask is one more"
    asked = batch.weights > 0
    assert 60 < asked.sum() < 180
    assert (batch.source.ids[~asked] == batch.labels[~asked]).all()
    assert (batch.source.ids[asked] == task.sizes[0] - 1).mean() > 0.6
    assert (batch.labels != task.sizes[0] - 1).all()


def test_what_is_too_long_is_cut_and_counted_in_every_task(tmp_path):
    ten_times = " ".join(["word"] * 100)
    lines = ["a b\tX", f"{ten_times}\tY"] * 3
    for task_name in ("text_to_text", "classification", "prefix_lm"):
        task = load_task(plain(tmp_path, "{split}.tsv", lines, task=task_name, length=10))
        assert task.counts["truncated_examples"] == 6
        assert task.train.lengths.max() <= 20
    task = tagged(tmp_path, [{"tokens": ten_times.split(), "tags": ["O"] * 100}], length=10)
    assert task.counts["truncated_examples"] == 2
    assert task.train.lengths.max() == 10
    assert task.train.source[0][-1] == EOS


def test_unknown_words_are_counted(tmp_path):
    (tmp_path / "train.txt").write_text("a b\n")
    (tmp_path / "test.txt").write_text("a c d\n")
    task = load_task(DataConfig(path=str(tmp_path / "{split}.txt"), task="lm", tokenizer="words"))
    assert task.counts["unknown_tokens"] == 2


def test_each_split_is_read_from_its_file_and_no_more_of_it_than_asked(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.txt").write_text("".join(f"{split} {i}\n" for i in range(9)))
    base = DataConfig(path=str(tmp_path / "{split}.txt"), task="lm", tokenizer="words")
    first = lambda examples, task: task.target_vocabulary.decode(examples.labels[0].tolist())
    task = load_task(base)
    assert first(task.train, task) == "train 0"
    assert task.counts["unknown_tokens"] == 9, "test is unknown to train"
    few = load_task(dataclasses.replace(base, train_examples=3, evaluation_examples=2, evaluation_split="validation"))
    assert (len(few.train), len(few.evaluation)) == (3, 2)
    assert few.evaluation.labels[0].tolist()[1] == few.target_vocabulary.encode("0")[0]
    reader = Reader(dataclasses.replace(base, evaluation_split="validation"))
    assert next(reader.records(reader.config.judged_by))[0] == "validation 0"


def test_what_has_no_answers_is_judged_by_the_validation_split():
    assert DataConfig(name="squad").judged_by == "validation"
    assert DataConfig(name="squad", evaluation_split="test").judged_by == "test"
    assert DataConfig().judged_by == "test"
    assert DataConfig(name="squad", path="x.txt").judged_by == "test"


def test_numbers_and_names_of_one_label_are_one_class(tmp_path):
    lines = ['{"source": "a", "target": 1}', '{"source": "b", "target": "1"}', '{"source": "c", "target": 0}']
    task = load_task(plain(tmp_path, "{split}.jsonl", lines, task="classification"))
    assert task.target_vocabulary.symbols == ("0", "1")
    assert task.references == [["1"], ["1"], ["0"]]


def test_the_first_answer_with_text_is_the_target(tmp_path):
    lines = ['{"source": "a", "target": ["", "b"]}', '{"source": "a", "target": ["", " "]}']
    task = load_task(plain(tmp_path, "{split}.jsonl", lines, task="text_to_text"))
    assert task.target_vocabulary.decode(task.train.labels[0].tolist()) == "b"
    assert task.skipped["train: nothing in target"] == 1


BAD = {
    "invalid UTF-8": ("{split}.txt", ["good", b"\xff\xfe"], {"task": "lm"}, r"train\.txt.*line 2"),
    "NUL": ("{split}.txt", ["good", "a\0b"], {"task": "lm"}, r"train\.txt.*line 2"),
    "a missing column": ("{split}.tsv", ["a\tb", "a"], {"task": "text_to_text"}, r"train\.tsv, line 2: expected 2 col"),
    "an empty file": ("{split}.txt", [""], {"task": "lm"}, r"train\.txt: holds no record"),
    "a missing key": (
        "{split}.jsonl",
        ['{"source": "a"}'],
        {"task": "text_to_text"},
        r"train\.jsonl, line 1: no feature is called 'target'",
    ),
    "no text": (
        "{split}.jsonl",
        ['{"source": "a", "target": "b"}', "", '{"source": 3, "target": "b"}'],
        {"task": "text_to_text"},
        r"train\.jsonl, line 3: expected text, got 3",
    ),
    "words without labels": (
        "{split}.jsonl",
        ['{"tokens": ["a", "b"], "tags": ["O"]}'],
        {"task": "tagging", "source": "tokens", "target": "tags"},
        r"train\.jsonl, line 1: 2 words, but 1 labels",
    ),
    "words that are none": (
        "{split}.jsonl",
        ['{"tokens": ["a", 3], "tags": ["O", "O"]}'],
        {"task": "tagging", "source": "tokens", "target": "tags"},
        r"train\.jsonl, line 1: expected words, got \['a', 3\]",
    ),
    "several labels of a text": (
        "{split}.jsonl",
        ['{"source": "a", "target": ["x", "y"]}'],
        {"task": "classification"},
        r"train\.jsonl, line 1: expected a label, got \['x', 'y'\]",
    ),
    "no label": (
        "{split}.jsonl",
        ['{"source": "a", "target": {"x": 1}}'],
        {"task": "classification"},
        r"train\.jsonl, line 1: expected a label, got",
    ),
    "no label at all": (
        "{split}.jsonl",
        ['{"source": "a", "target": null}'],
        {"task": "classification"},
        r"train\.jsonl, line 1: expected a label, got None",
    ),
    "nested tags": (
        "{split}.jsonl",
        ['{"tokens": ["a"], "tags": [["O"]]}'],
        {"task": "tagging", "source": "tokens", "target": "tags"},
        r"train\.jsonl, line 1: expected a label, got \['O'\]",
    ),
    "a number for a word": (
        "{split}.jsonl",
        ['{"source": 3, "target": "P"}'],
        {"task": "g2p"},
        r"test\.jsonl, line 1: expected text, got 3",
    ),
    "a key of two lines": (
        "{split}.jsonl",
        ['{"source\\n2": "a", "target": "b"}'],
        {"task": "text_to_text"},
        r"train\.jsonl, line 1: no feature is called 'source'",
    ),
    "nothing but empty texts": ("{split}.tsv", ["\tx", " \ty"], {"task": "text_to_text"}, "no example in it"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line_with_its_place(tmp_path, name):
    file, lines, settings, message = BAD[name]
    with pytest.raises(Refused, match=message) as error:
        load_task(plain(tmp_path, file, lines, **settings))
    assert "\n" not in str(error.value)


def test_a_label_outside_the_set_is_refused_with_its_line(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tgood\nb\tbad\n")
    (tmp_path / "test.tsv").write_text("a\tgood\n\nb\tgodo\n")
    config = DataConfig(path=str(tmp_path / "{split}.tsv"), task="classification", tokenizer="words")
    with pytest.raises(Refused, match=r"test\.tsv, line 3: the label 'godo' .*did you mean 'good'"):
        load_task(config)


def test_empty_lines_and_empty_columns_are_counted_by_reason(tmp_path):
    lines = ["a\tx", "", "  ", "b\t", "c\ty"]
    task = load_task(plain(tmp_path, "{split}.tsv", lines, task="text_to_text"))
    assert len(task.train) == 2
    assert task.skipped == {
        f"{split}: {reason}": 1 for split in ("train", "test") for reason in ("nothing in 2", "empty", "white space")
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "unheard_of"}, r"data\.name=unheard_of: known: .* say what it is for, with data\.task"),
        ({"name": "unheard_of", "task": "lm"}, r"say which feature is read, with data\.source"),
        ({"name": "multi30k/en-it"}, r"did you mean 'multi30k/en-\w\w'\? else say what it is for"),
        ({"path": "x.tsv"}, r"data\.path=x\.tsv: say what it is for"),
        ({"path": "x.txt", "task": "text_to_text"}, r"text_to_text needs something to predict: .*data\.target"),
        ({"path": "x.csv", "task": "lm"}, r"expected a name that ends in \.tsv, \.txt, \.jsonl"),
    ],
)
def test_what_is_not_said_is_asked_for(settings, message):
    with pytest.raises(Refused, match=message):
        _ = DataConfig(**settings).known


FEATURES = {
    "wmt14_translate/fr-en": {"fr": "Un chat.", "en": "A cat."},
    "ted_hrlr_translate/pt_to_en": {"pt": "Um gato.", "en": "A cat."},
    "gigaword": {"document": "a cat sat", "summary": "cat sits"},
    "cnn_dailymail": {"article": "A cat sat.", "highlights": "Cat sat", "id": "1", "publisher": "none"},
}


@pytest.mark.parametrize("name", FEATURES)
def test_prepared_data_sets_are_read_by_the_keys_that_are_known(tmp_path, monkeypatch, name):
    import tensorflow_datasets as tfds

    record = FEATURES[name]
    features = tfds.features.FeaturesDict({key: tfds.features.Text() for key in record})
    write(tmp_path, name, features, [record] * 3)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    task = load_task(DataConfig(name=name, tokenizer="words"))
    _, source, target = CATALOGUE[name]
    assert task.source_vocabulary.decode(task.train.source[0].tolist()) == record[source]
    assert task.references[0] == [record[target]]


def test_g2p_has_all_pronunciations_as_references_and_no_stress():
    task = load_task(DataConfig(train_examples=100, evaluation_examples=300))
    assert len(task.train) == 100
    assert len(task.evaluation) == len(task.references) == 300
    assert any(len(texts) > 1 for texts in task.references)
    symbols = {symbol for texts in task.references for text in texts for symbol in text.split()}
    assert symbols <= set(task.target_vocabulary.symbols)
    for i in range(300):
        assert task.target_vocabulary.decode(task.evaluation.labels[i].tolist()) == task.references[i][0]


@pytest.mark.slow
def test_lengths_of_cmudict():
    task = load_task(DataConfig())
    assert task.train.lengths.max(axis=0).tolist() == [29, 29]
    np.testing.assert_allclose(task.train.lengths.mean(axis=0), [8.5, 7.4], atol=0.1)
    assert task.counts == {"truncated_examples": 0, "skipped_examples": 0, "unknown_tokens": 0}


def test_training_examples_that_are_too_long_are_left_out_and_counted():
    whole = load_task(DataConfig(train_examples=400, evaluation_examples=50))
    short = load_task(DataConfig(train_examples=400, evaluation_examples=50, train_longest=8))
    lengths = whole.train.lengths.max(axis=1)
    assert short.train.lengths.max() == 8
    assert len(short.train) == np.count_nonzero(lengths <= 8)
    assert short.skipped["train: longer than 8"] == np.count_nonzero(lengths > 8) > 50
    assert short.counts["skipped_examples"] == whole.counts["skipped_examples"] + np.count_nonzero(lengths > 8)
    np.testing.assert_array_equal(short.evaluation.lengths, whole.evaluation.lengths)
