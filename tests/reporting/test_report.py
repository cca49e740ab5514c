import csv
import io
import json

import numpy as np
import pytest

from flaxmask.evaluation.scores import corpus_score
from flaxmask.names import Refused
from flaxmask.reporting import counts, page, report, results
from flaxmask.reporting.metrics import MEASURED, METRICS
from flaxmask.reporting.table import Table, show
from flaxmask.reporting.tables import make_csv, make_tables

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


def test_updates_that_were_left_out_are_said_of_each_cell():
    left_out = lambda entry, count: entry | {"metrics": entry["metrics"] | {"skipped_updates": count}}
    lines = [left_out(entry, count) for entry, count in zip(LINES, (1, 0, 1200), strict=True)]
    said = [note for note in make_tables(SETTINGS, lines)[0].notes if "left out" in note]
    assert said == [
        "static, seed 0: 1 update left out, whose loss or gradients were not finite",
        "packed, seed 0: 1,200 updates left out, whose loss or gradients were not finite",
    ]


def test_rows_that_were_timed_beside_other_work_are_named():
    loads = {"load": 2.4, "own_load": 0.3}, {"load": 2.4, "own_load": 1.9}, {"load": 0.9}
    lines = [one | {"provenance": PROVENANCE | of | {"cpus": 2}} for one, of in zip(LINES, loads, strict=True)]
    said = lambda settings, of: [note for note in make_tables(settings, of)[0].notes if "other work" in note]
    wanted = "timed while other work ran, by the load before: static, seed 0 (2.1 of 2 CPUs)"
    assert said(SETTINGS, lines) == [wanted]
    assert said(SETTINGS, LINES) == [], "files that say nothing of it"
    untimed = SETTINGS | {"parts": [SETTINGS["parts"][0] | {"columns": ["per"]}]}
    assert said(untimed, lines) == []


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
    html = (tmp_path / "report.html").read_text()
    assert "A &lt;title&gt; &amp; more" in html
    assert "<li><code>run.py --experiment padding</code></li>" in html
    assert "data:image/png;base64" in html
    assert "://" not in html
    assert (tmp_path / "figures" / "real_tokens_per_second_and_per.png").read_bytes()[:4] == b"\x89PNG"


def test_a_column_that_nobody_has_is_left_out():
    part = SETTINGS["parts"][0] | {"columns": ["per", "bleu"]}
    for of in ("per", "bleu"):
        lines = [{**LINES[0], "metrics": {of: 20.0}}]
        [table] = make_tables(SETTINGS | {"parts": [part]}, lines)
        assert table.head == ("row", METRICS[of].label + " (%)")
        assert make_csv([(SETTINGS | {"parts": [part]}, lines, "")]).splitlines()[0] == f"row,seed,{of}"


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


def counted(*shares: float, examples: int = 400) -> dict[str, np.ndarray]:
    """What PER counts in examples of 10 symbols, of which these shares are wrong in turn."""
    rng = np.random.default_rng(int(1000 * shares[0]))
    wrong = rng.binomial(10, np.resize(shares, examples))
    return {"per": np.stack([wrong, np.full(examples, 10)], axis=1)}


def table_of(of_cells, part=None, **metrics):
    """A table whose PER is what is counted."""
    part = part or {"title": "t", "rows": list(dict.fromkeys(row for row, _ in of_cells)), "columns": ["per", "leaks"]}
    lines = [
        line(row, seed, 1.0, corpus_score("per", of["per"])) | {"config": {"training": {"epochs": 3}}}
        for (row, seed), of in of_cells.items()
    ]
    for entry in lines:
        entry["metrics"] |= {"updates": 70, "flops": 2.5e12} | metrics.get(entry["row"].replace(" ", "_"), {})
    [table] = make_tables(SETTINGS | {"parts": [part]}, lines, of_cells)
    return table


def test_the_best_stands_out_where_it_is_better_than_all():
    cells = {("a", 0): counted(0.2), ("b", 0): counted(0.4), ("c", 0): counted(0.402)}
    table = table_of(cells)
    assert table.bold == {(0, 1)}
    assert f"| a | **{table.rows[0][1]}** |" in table.markdown()
    assert f"a & \\textbf{{{table.rows[0][1]}}}" in table.latex()
    assert f"<td><b>{table.rows[0][1]}</b></td>" in page.page("t", [table], {}, {}, {}, [], {})
    assert table_of({cell: of for cell, of in cells.items() if cell[0] != "a"}).bold == set(), "they are level"
    [said] = [note for note in table.notes if note.startswith("bold: ")]
    assert "for 2 tests" in said
    assert "one seed: of training anew they say nothing" in said
    [smallest] = [note for note in table.notes if note.startswith("smallest differences")]
    assert 1.5 < float(smallest.split("PER ")[1].split()[0]) < 5.0
    assert "budget of every row: 70 updates, 3 epochs, 2.5 T floating-point operations" in table.notes


def smallest_of(of_cells):
    [said] = [note for note in table_of(of_cells).notes if note.startswith("smallest differences")]
    return said.rpartition("PER ")[2]


def test_the_smallest_difference_has_two_digits():
    same = counted(0.4)
    near = {"per": same["per"] + np.eye(400, 1, dtype=int) * [[1, 0]]}
    assert smallest_of({("a", 0): same, ("b", 0): near}) == "0.070 %"
    assert smallest_of({("a", 0): same, ("b", 0): same}) == "not known, since every example counts the same in all rows"


def test_a_difference_that_is_rounded_away_does_not_stand_out():
    """Layouts differ by rounding, and that always in one direction."""
    labels = np.full(400, 10.0)
    cells = {(row, 0): {"loss": np.stack([labels * loss, labels], axis=1)} for row, loss in (("a", 1), ("b", 1 + 1e-6))}
    lines = [line(row, 0, 1.0, 1.0) | {"metrics": {"loss": 1.0 + 1e-6 * (row == "b")}} for row, _ in cells]
    part = {"title": "t", "rows": ["a", "b"], "columns": ["loss"]}
    [table] = make_tables(SETTINGS | {"parts": [part]}, lines, cells)
    assert not table.bold
    assert table.rows[0][1] == table.rows[1][1]


def test_what_leaks_does_not_compete():
    cells = {("a", 0): counted(0.1), ("b", 0): counted(0.2), ("c", 0): counted(0.4)}
    table = table_of(cells, a={"leaks": 3})
    assert table.bold == {(1, 1)}
    assert "not compared, since they leak or give no number: a" in table.notes


def test_a_difference_must_show_itself_over_the_seeds_too():
    better = {("a", seed): counted(0.2 + 0.005 * seed) for seed in range(3)}
    other = {("b", seed): counted(0.4 - 0.01 * seed) for seed in range(3)}
    assert table_of(better | other).bold == {(0, 1)}
    wild = {("b", seed): counted(share) for seed, share in enumerate((0.25, 0.9, 0.5))}
    assert table_of(better | wild).bold == set()
    assert any("paired t-test over the seeds" in note for note in table_of(better | other).notes)


def test_nothing_is_tested_without_what_examples_count():
    [table] = make_tables(SETTINGS, LINES[1:])
    assert not table.bold
    assert "nothing is tested: what the scores count in each example was not kept" in table.notes


def test_counts_that_are_not_finite_are_left_out(tmp_path):
    """Of a row whose loss is no number: it is shown, and no test is made of it."""
    path = tmp_path / "a.npz"
    counts.write(path, {"loss": np.array([[np.nan, 1.0], [2.0, 1.0]]), "per": np.array([[1, 4], [0, 3]])})
    assert list(counts.read(path)) == ["per"]


def test_counts_come_back_as_they_went(tmp_path):
    wanted = counted(0.3) | {"loss": np.array([[0.25, 3.0], [1.5, 2.0]])}
    counts.write(tmp_path / "a.npz", wanted)
    first = (tmp_path / "a.npz").read_bytes()
    counts.write(tmp_path / "a.npz", wanted)
    assert (tmp_path / "a.npz").read_bytes() == first
    found = counts.read(tmp_path / "a.npz")
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    assert counts.read(tmp_path / "b.npz") == {}
    (tmp_path / "a.npz").write_bytes(first[:100])
    with pytest.raises(Refused, match=r"a\.npz: not readable"):
        counts.read(tmp_path / "a.npz")


def test_translations_stand_beside_the_first_row_s():
    """All seeds that both rows have; the p-value of a difference in every example is small."""
    part = {"title": "BLEU", "rows": ["static", "packed", "later"], "columns": ["tokenised_bleu"]}
    signed = {"signatures": {"tokenised_bleu": "nrefs:1|tok:none", "chrf": "unseen"}}
    lines = [
        {**line(row, seed, 1.0, 1.0), "metrics": {"tokenised_bleu": value}} | signed
        for row, seed, value in (("static", 0, 50.0), ("static", 1, 50.0), ("packed", 1, 40.0))
    ]
    good, bad = [[9, 8, 7, 6, 10, 9, 8, 7, 10, 10]] * 50, [[7, 5, 3, 2, 10, 9, 8, 7, 10, 10]] * 50
    counts = {
        cell: {"tokenised_bleu": np.array(of)}
        for cell, of in ((("static", 0), good), (("static", 1), good), (("packed", 1), bad))
    }
    [table] = make_tables(SETTINGS | {"parts": [part]}, lines, counts)
    assert table.head[-1] == "tokenised BLEU beside static"
    first, second, third = (row[-1] for row in table.rows)
    assert (first, third) == ("–", "–")
    assert second.startswith("-")
    assert second.endswith("(p 0.000)")
    assert "tokenised BLEU: sacreBLEU nrefs:1|tok:none" in table.notes
    assert not any("unseen" in note for note in table.notes)
    [alone] = make_tables(SETTINGS | {"parts": [part]}, lines[:1], counts)
    assert "BLEU beside static" not in alone.head, "there is nothing to stand beside"
