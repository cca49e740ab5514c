"""Every experiment at `smoke`: two rows each here, all of them in the slow tests, and what their tables must show."""

import json

import jax
import pytest

import run
from flaxmask.cell import run_cell
from flaxmask.data.sources.multi30k import file_of
from flaxmask.data.sources.sentence_polarity import ARCHIVE
from flaxmask.data.sources.tatoeba import EN_ZH
from flaxmask.data.sources.wikitext2 import files_of
from flaxmask.data.sources.wnut17 import FILES
from flaxmask.experiment import Run, find
from flaxmask.reporting import report
from tests.data.sources.published import need

# As small as the run that test_run fills, and of one shape, so that programs are shared.
SMALL = {
    "data.train_examples": "96",
    "data.batch_examples": "32",
    "data.evaluation_examples": "20",
    "data.shapes": "1",
    "data.length": "10",
}
FAST = {
    "g2p": ("LSTM with attention", "Transformer 4x4"),
    "mask_forms": ("flaxmask", "memory multiplied"),
    "decoder_masks": ("causal, shifted, padding hidden", "not causal, not shifted, padding seen"),
    "mask_patterns": ("shared layers", "prefix LM, equal compute"),
    "mlm_masking": ("static, 10 copies", "dynamic, spans"),
    "recurrent_padding": ("pre-padded, state held", "post-padded, state held"),
    "tagging": ("flaxmask, static", "no mask, packed"),
    "sentiment": ("masked mean", "attention of [CLS]"),
    "translation_zh": ("LSTM, interactive attention", "Transformer"),
    "multi30k": ("bucketed", "packed"),
    "positions": ("relative", "LSTM"),
    "sparse": ("full", "top 4 by content"),
    "explain": ("Transformer, 1 layer, 1 head", "LSTM, dot attention"),
    "sampling": ("temperature 1.0, top-k all, top-p 1.0", "temperature 1.0, top-k 10, top-p 0.9"),
}
NEEDED = {
    "multi30k": tuple(file_of(split, side, True) for split in ("train", "validation", "test") for side in ("en", "de")),
    "sampling": tuple(file_of(split, side, True) for split in ("train", "validation", "test") for side in ("en", "de")),
    "connection": tuple(
        file_of(split, side, True) for split in ("train", "validation", "test") for side in ("en", "fr")
    ),
    "low_data": (ARCHIVE,),
    "stability": (ARCHIVE,),
    "sparse": (*files_of("rebuilt").values(),),
    "mlm_masking": (*files_of("rebuilt").values(), ARCHIVE),
    "recurrent_padding": (ARCHIVE,),
    "sentiment": (ARCHIVE,),
    "tagging": tuple(FILES.values()),
    "translation_zh": (EN_ZH,),
}
# The canonical training text is not among the files for tests.
REBUILT = {"mlm_masking": {"data.name": "wikitext2/rebuilt", "data.vocabulary_of": "wikitext2/rebuilt"}}
WHOLE = ("heads_and_layers", "low_data", "stability", "lengths", "loops", "connection", "interactive_attention")
"""Pages of which the slow tests alone fill rows, all of them."""
OLD = ("padding", "packing", "specimens", "cost_of_masks")  # these have tests of their own


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Programs for several devices are tested elsewhere, and take twice as long to compile."""
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])


def fill(name, folder, overrides, rows=()):
    """A page's metrics at `smoke`, by row, and its report."""
    need(*NEEDED.get(name, ()))
    page = find(name, run.EXPERIMENTS)
    table = Run(page, "smoke", 1, folder, page.configs("smoke", overrides), only=tuple(rows))
    table.claim()
    table.run(run_cell, lambda: None)
    # Figures take longer than most rows here; of all rows they are drawn.
    tables = report.tables(report.join([folder])[0]) if rows else report.write(folder)
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return {line["row"]: line["metrics"] for line in lines}, "\n".join(table.markdown() for table in tables)


@pytest.mark.parametrize("name", FAST)
def test_two_rows_of_a_page(name, tmp_path):
    metrics, table = fill(name, tmp_path, SMALL | REBUILT.get(name, {}), FAST[name])
    assert list(metrics) == list(FAST[name])
    one, other = metrics.values()
    assert one["leaks"] == 0
    assert one["batch_drift"] < 1e-5
    if name == "mask_forms":
        assert other["batch_drift"] > 1e-3
        assert other["leaks"] == 0, "ids of what is multiplied by 0 are not seen, but how many there are"
    if name == "decoder_masks":
        assert other["leaks"] > 100
    if name == "mlm_masking":
        assert 0 <= one["finetuned_accuracy"] <= 100
    if name == "recurrent_padding":
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
        assert one["accuracy"] == other["accuracy"]
    if name == "tagging":
        assert other["leaks"] > 100
        assert "within 2 points of flaxmask, static" in table
    if name == "positions":
        assert {"per_trained", "per_longer", "unending", "repeated_4grams"} <= one.keys()
    if name == "sparse":
        assert other["visible_flops"] < one["visible_flops"]
    if name == "explain":
        assert -1 <= one["attention_rank"] <= 1
        assert 0 <= other["attention_top"] <= 100
    if name == "sampling":
        assert one["loss"] == other["loss"], "one training serves both"
        assert one["distinct_2"] > other["distinct_2"]
        assert one["self_bleu"] < other["self_bleu"]
    if name == "translation_zh":
        assert "Transformer: 'The cat sat on the mat.' → " in table


def test_every_page_has_a_test():
    assert {*FAST, *WHOLE, *OLD} == set(run.experiments.names_in(run.EXPERIMENTS))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["padding", *FAST, *WHOLE])
def test_all_rows_of_a_page(name, tmp_path):
    metrics, table = fill(name, tmp_path, REBUILT.get(name, {}))
    page = find(name, run.EXPERIMENTS)
    assert set(metrics) == set(page.configs("smoke", {}))
    for row in metrics:
        assert f"| {row} |" in table
    CHECKS.get(name, lambda metrics: None)(metrics)


def check_layouts(metrics):
    """One order, one start, equal updates: the losses differ by rounding alone; bucketed has another order."""
    for row in ("dynamic", "packed"):
        assert metrics[row]["loss"] == pytest.approx(metrics["static"]["loss"], rel=1e-4)
    assert all(found["leaks"] == 0 and found["batch_drift"] < 1e-5 for found in metrics.values())


def check_forms(metrics):
    """Correct forms are correct; each of the others is found by leaks, drift or NaN."""
    correct = ("flaxmask", "least number", "-1e9 added", "-1e4 added", "multiplied, renormalised")
    for row in correct:
        assert metrics[row]["batch_drift"] < 1e-5, row
        assert metrics[row]["loss"] == pytest.approx(metrics["flaxmask"]["loss"], abs=1e-4), row
    for row in ("weights multiplied", "literal softmax(x + mask)", "memory multiplied", "none"):
        assert metrics[row]["batch_drift"] > 1e-3, row
    for row in ("minus infinity", "minus infinity, float16", "-1e9 added, float16"):
        assert metrics[row]["nan_outputs"] > 0, row
        assert metrics[row]["diverged_at"] == 1, row
        assert "step_milliseconds" not in metrics[row], "one update tells no time"


def check_wrong_forms(metrics):
    """Ours neither leaks nor drifts; each wrong form drifts."""
    for row, found in metrics.items():
        sound = row == "flaxmask" or row.endswith("masked")
        assert (found["leaks"] == 0 and found["batch_drift"] < 1e-5) == sound, row
        assert (found["batch_drift"] > 1e-3) != sound, row


def check_sound(metrics):
    """Nobody leaks or drifts, and nothing is NaN."""
    for row, found in metrics.items():
        assert found["leaks"] == found["nan_outputs"] == 0, row
        assert found["batch_drift"] < 1e-5, row


def check_heads(metrics):
    """Heads do not change the number of parameters, layers do."""
    check_sound(metrics)
    sizes = {row: found["parameters"] for row, found in metrics.items()}
    assert len({sizes[row] for row in sizes if row.endswith("3 layers")}) == 1
    assert sizes["4 heads, 3 layers"] < sizes["4 heads, 4 layers"] < sizes["4 heads, 5 layers"]


def check_connection(metrics):
    """One vector leaves the rest of the source dead where it is the first of an LSTM; nobody leaks."""
    check_sound(metrics)
    assert metrics["LSTM: all positions, zero"]["dead"] == 0
    assert all(0 <= found["unending"] <= 100 for found in metrics.values())


def check_decoders(metrics):
    """Who sees the answer leaks; who sees padding leaks or drifts."""
    for row, found in metrics.items():
        sound = row == "causal, shifted, padding hidden"
        assert (found["leaks"] == 0 and found["batch_drift"] < 1e-5) == sound, row
        if "not causal" in row or "not shifted" in row:
            assert found["leaks"] > 0, row


def check_patterns(metrics):
    """Equal compute has half the parameters, and nobody leaks."""
    assert all(found["leaks"] == 0 and found["batch_drift"] < 1e-5 for found in metrics.values())
    sizes = {row: found["parameters"] for row, found in metrics.items()}
    assert sizes["shared layers"] < sizes["encoder-decoder"]
    assert sizes["prefix LM, equal compute"] < 0.8 * sizes["encoder-decoder"]
    for row in ("prefix LM, equal parameters", "causal LM, equal parameters"):
        assert sizes[row] == pytest.approx(sizes["encoder-decoder"], rel=0.02)


def check_recurrent(metrics):
    """With the state held the side does not matter; without, padding leaks or drifts."""
    held = [found for row, found in metrics.items() if row.endswith("state held")]
    assert held[0]["loss"] == pytest.approx(held[1]["loss"], abs=1e-6)
    assert all(found["leaks"] == 0 and found["batch_drift"] < 1e-6 for found in held)
    for row, found in metrics.items():
        if row.endswith("no mask"):
            assert found["leaks"] > 0, row
        if not row.endswith("state held"):
            assert found["batch_drift"] > 1e-3, row


def check_grid(metrics):
    """Correct forms in correct layouts neither leak nor drift; the others do."""
    for row, found in metrics.items():
        bad = row.startswith(("multiplied", "literal", "memory", "no mask"))
        sound = found["leaks"] == 0 and found["batch_drift"] < 1e-5
        if row.startswith("minus infinity"):
            assert found["diverged_at"] == 1, row
            continue
        # Renormalising rounds away the last bits of what it hides, so replacing it may show there.
        assert sound != bad or row.startswith("renormalised"), row


@pytest.mark.slow
def test_a_decoder_that_sees_its_answer_learns_nothing(tmp_path):
    """Its loss is the least of all, and what it writes the worst."""
    sound, cheat = "causal, shifted, padding hidden", "causal, not shifted, padding hidden"
    said = {
        "data.train_examples": "20000",
        "data.length": "24",
        "training.learning_rate": "4e-3",
        "model.d_model": "64",
    }
    metrics, _ = fill("decoder_masks", tmp_path, said, (sound, cheat))
    assert metrics[cheat]["loss"] < 0.1
    assert metrics[sound]["loss"] > 5 * metrics[cheat]["loss"]
    assert metrics[sound]["per"] < 75 < 95 < metrics[cheat]["per"]


CHECKS = {
    "heads_and_layers": check_heads,
    "low_data": check_wrong_forms,
    "stability": check_wrong_forms,
    "loops": check_wrong_forms,
    "lengths": check_layouts,
    "positions": check_sound,
    "connection": check_connection,
    "interactive_attention": check_sound,
    "explain": check_sound,
    "padding": check_layouts,
    "mask_forms": check_forms,
    "decoder_masks": check_decoders,
    "mask_patterns": check_patterns,
    "recurrent_padding": check_recurrent,
    "tagging": check_grid,
    "sentiment": check_grid,
}
