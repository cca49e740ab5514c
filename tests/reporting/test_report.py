import csv
import io
import json

import pytest

from flaxmask.reporting import report, results
from flaxmask.reporting.metrics import MEASURED, METRICS
from flaxmask.reporting.table import Table, make_tables, show

SETTINGS = {
    "experiment": "padding",
    "title": "A <title> & more",
    "scale": "quick",
    "parallel": "jit",
    "parts": [
        {"title": "A <title> & more", "rows": ["static", "packed"], "columns": ["real_tokens_per_second", "per"]}
    ],
    "rows": {"static": {}, "packed": {}},
}
PROVENANCE = {
    "git": "0123456789abcdef",
    "dirty": False,
    "versions": {"python": "3.11", "jax": "0.10.2", "flax": "0.12.8"},
    "devices": ["cpu: cpu"],
    "command": "run.py --experiment padding",
}


def line(row, seed, rate, per):
    metrics = {"real_tokens_per_second": rate, "per": per, "loss": 1.25}
    return {"row": row, "seed": seed, "metrics": metrics, "provenance": PROVENANCE}


LINES = [line("static", 0, 1000.0, 20.0), line("static", 1, 3000.0, 22.0), line("packed", 0, 9000.0, 21.04)]


def test_mean_and_deviation_over_seeds():
    [table] = make_tables(SETTINGS, LINES)
    assert table.rows == (("static", "2,000 ± 1,414", "21.0 ± 1.4"), ("packed", "9,000", "21.0"))
    assert table.head[0] == "row"
    assert table.head[1] == "real tokens (per s)"
    assert make_tables(SETTINGS, LINES[:1])[0].rows[1] == ("packed", "–", "–"), "a cell that is not there yet"


def test_a_file_of_each_kind(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    for entry in LINES:
        results.append(tmp_path, entry)
    report.write(tmp_path)
    markdown = (tmp_path / "table.md").read_text()
    assert "| packed | 9,000 | 21.0 |" in markdown
    assert "seeds 0, 1" in markdown
    assert "0123456789ab" in markdown
    latex = (tmp_path / "table.tex").read_text()
    assert r"static & 2,000 $\pm$ 1,414 & 21.0 $\pm$ 1.4 \\" in latex
    assert r"\toprule" in latex
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert [row["per"] for row in rows] == ["20.0", "22.0", "21.04"]
    assert rows[0]["loss"] == "1.25", "every metric, shown in the table or not"
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;title&gt; &amp; more" in page
    assert "data:image/png;base64" in page
    assert "http://" not in page
    assert (tmp_path / "figures" / "real_tokens_per_second_and_per.png").read_bytes()[:4] == b"\x89PNG"


def test_a_report_of_nothing_yet(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    assert "no cell is finished yet" in report.write(tmp_path)[0].markdown()


def test_a_line_that_is_not_readable_is_named(tmp_path):
    results.append(tmp_path, LINES[0])
    with (tmp_path / results.FILE).open("a") as file:
        file.write('{"row": "sta')
    with pytest.raises(ValueError, match=r"results.jsonl, line 2: not readable"):
        results.read(tmp_path)


def test_latex_is_escaped():
    text = Table("t", ("a_b", "50 %"), (("x & y", "#1"),)).latex()
    assert r"a\_b & 50 \% \\" in text
    assert r"x \& y & \#1 \\" in text


def test_figures_of_metrics_are_shown_with_their_digits():
    assert show("peak_memory_bytes", [3 * 2**20]) == "3"
    assert show("real_token_fraction", [0.25]) == "0.250"
    assert show("loss", [float("nan")]) == "nan"


def test_one_list_names_what_is_measured():
    wanted = {
        "real_tokens_per_second",
        "step_milliseconds",
        "compile_count",
        "compile_seconds",
        "peak_memory_bytes",
    }
    assert wanted <= set(MEASURED)
    assert not {"loss", "per", "wer", "real_token_fraction"} & set(MEASURED)
    assert all(METRICS[name].label for name in METRICS)


def test_what_is_not_finite_has_no_mean():
    nan = float("nan")
    assert show("loss", [nan]) == "nan"
    assert show("loss", [nan, 1.0, nan]) == "2 of 3 not finite"
    assert show("batch_drift", [float("inf")] * 2) == "2 of 2 not finite"


def test_translations_stand_beside_the_first_row_s():
    """All seeds that both rows have; the p-value of a difference in every example is small."""
    part = {"title": "BLEU", "rows": ["static", "packed", "later"], "columns": ["tokenised_bleu"]}
    lines = [
        {**line(row, seed, 1.0, 1.0), "metrics": {"tokenised_bleu": value}}
        for row, seed, value in (("static", 0, 50.0), ("static", 1, 50.0), ("packed", 1, 40.0))
    ]
    good, bad = [[9, 8, 7, 6, 10, 9, 8, 7, 10, 10]] * 50, [[7, 5, 3, 2, 10, 9, 8, 7, 10, 10]] * 50
    signed = {"metric": "tokenised_bleu", "signatures": {"tokenised_bleu": "nrefs:1|tok:none", "chrf": "unseen"}}
    bleus = {
        cell: signed | {"counts": counts}
        for cell, counts in ((("static", 0), good), (("static", 1), good), (("packed", 1), bad))
    }
    [table] = make_tables(SETTINGS | {"parts": [part]}, lines, {}, bleus)
    assert table.head[-1] == "BLEU beside static"
    first, second, third = (row[-1] for row in table.rows)
    assert (first, third) == ("–", "–")
    assert second.startswith("-")
    assert second.endswith("(p 0.001)")
    assert "tokenised BLEU: sacreBLEU nrefs:1|tok:none" in table.notes
    assert not any("unseen" in note for note in table.notes)
    [alone] = make_tables(SETTINGS | {"parts": [part]}, lines, {}, {("static", 0): bleus["static", 0]})
    assert "BLEU beside static" not in alone.head, "there is nothing to stand beside"
