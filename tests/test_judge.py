"""How a trained model is judged, on tasks so small that it can be counted by hand."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from flaxmask.cell import transfer
from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.layouts import make_layout
from flaxmask.experiment import Config
from flaxmask.judge import _span_counts, audit_model, evaluate
from flaxmask.models.config import TransformerConfig
from flaxmask.names import Refused
from flaxmask.setting import Setting

SMALL = TransformerConfig(d_model=16, d_ffn=32, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)


def setting(tmp_path, lines: list[str], test: list[str] | None = None, model=SMALL, seed=0, **data) -> Setting:
    """A cell over plain texts."""
    for split, rows in (("train", lines), ("test", test or lines)):
        (tmp_path / f"{split}.txt").write_text("\n".join(rows) + "\n")
    config = DataConfig(path=str(tmp_path / "{split}.txt"), tokenizer="words", **{"task": "mlm", **data})
    return Setting.of(Config(config, model), seed, 1)


WORDS = [" ".join(f"w{(i + j) % 7}" for j in range(2 + i % 9)) for i in range(40)]


def test_only_labels_that_count_are_judged(tmp_path):
    one = setting(tmp_path, WORDS, mask_rate=0.3)
    params = one.params()
    found = evaluate(one.task, one.model, params, one.config.data).metrics
    lengths = one.task.evaluation.lengths
    static = make_layout(DataConfig(layout="static", batch_examples=40), lengths)
    [placement] = static.place(np.arange(40), lengths)
    batch = build_batch(one.task.evaluation, placement, one.task.noise)
    logits = np.asarray(jax.jit(one.model.apply)(params, batch))
    asked = batch.weights > 0
    assert 30 < asked.sum() < lengths.sum() / 2
    right = (logits.argmax(axis=-1) == batch.labels)[asked]
    assert found["accuracy"] == pytest.approx(100 * right.mean())
    assert one.task.noise.seed == 0, "every seed's model is asked for the same tokens"


def test_runs_of_other_seeds_hide_other_tokens(tmp_path):
    seeds = [setting(tmp_path, WORDS, seed=seed).noise.seed for seed in (0, 1)]
    assert seeds == [0, 1]
    assert setting(tmp_path, WORDS, task="lm").noise is None


def test_the_fingerprint_of_a_run_is_of_the_text_too(tmp_path):
    """Texts of equal lengths make the same plan, and yet another stream."""
    prints = [setting(tmp_path, WORDS).fingerprint]
    (tmp_path / "other").mkdir()
    other = setting(
        tmp_path / "other", [text.replace("w1", "w2", 1) if i == 1 else text for i, text in enumerate(WORDS)]
    )
    assert other.plan.fingerprint == setting(tmp_path, WORDS).plan.fingerprint
    prints += [other.fingerprint, setting(tmp_path, WORDS, seed=1).fingerprint]
    prints += [setting(tmp_path, WORDS, mask_rate=0.2).fingerprint]
    assert len(set(prints)) == 4
    assert setting(tmp_path, WORDS).fingerprint == prints[0]


def test_what_cannot_be_judged_is_refused_before_it_is_trained(tmp_path):
    with pytest.raises(Refused, match="none of the 4 labels of the evaluation split counts"):
        setting(tmp_path, WORDS, ["w1 w2"], mask_rate=0.01)


def test_positions_that_run_on_need_a_table_as_long_as_a_row(tmp_path):
    learned = dataclasses.replace(SMALL, positions="learned", max_positions=16)
    setting(tmp_path, WORDS, model=learned)
    with pytest.raises(Refused, match=r"model\.max_positions=16: the longest example or row has \d\d positions"):
        setting(tmp_path, WORDS, model=learned, restart_positions=False)


def test_evaluation_may_be_longer_than_a_packed_row(tmp_path):
    long = " ".join(["w1"] * 60)
    one = setting(tmp_path, WORDS, [*WORDS[:8], long], pack_length=16)
    params = jax.tree.map(np.asarray, one.params())
    found = audit_model(one.task, one.model, params, one.config.data, tmp_path / "audit")
    assert found["leaks"] == 0


def test_a_classifier_starts_from_the_layers_of_a_language_model(tmp_path):
    """All but its head, and but the mask's row of the embedding, which it has no use for."""
    trained = setting(tmp_path, WORDS).params()
    rows = [json.dumps({"source": text, "label": "a" if i % 2 else "b"}) for i, text in enumerate(WORDS)]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    path = str(tmp_path / "{split}.jsonl")
    data = DataConfig(path=path, tokenizer="words", task="classification", target="label")
    fresh = Setting.of(Config(data, SMALL), 1, 1).params()
    params = transfer(trained, fresh)["params"]
    old = trained["params"]
    np.testing.assert_array_equal(params["embedder"]["embedding"], old["embedder"]["embedding"][:-1])
    jax.tree.map(np.testing.assert_array_equal, params["layers_0"], old["layers_0"])
    jax.tree.map(np.testing.assert_array_equal, params["head"], fresh["params"]["head"])
    wide = Setting.of(Config(data, dataclasses.replace(SMALL, d_ffn=64)), 1, 1).params()
    with pytest.raises(Refused, match=r"layers_0/\w+/\w+: expected \[\S+ ?\S*\], the trained model has"):
        transfer(trained, wide)


def test_tags_of_words_that_were_cut_count_as_o(tmp_path):
    rows = [{"tokens": ["Ann", "met", "Bob", "Lee"], "tags": ["B-p", "O", "B-p", "I-p"]}] * 4
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataConfig(
        path=str(tmp_path / "{split}.jsonl"),
        tokenizer="words",
        task="tagging",
        source="tokens",
        target="tags",
        length=3,
    )
    one = Setting.of(Config(data, SMALL), 0, 1)
    right = {name: one.task.target_vocabulary.encode(name)[0] for name in ("B-p", "O")}
    predicted = [np.array([right["B-p"], right["O"]])] * 4
    # Of two spans a sentence, one is found and one was cut off.
    assert _span_counts(one.task, predicted).tolist() == [[1, 1, 2]] * 4
