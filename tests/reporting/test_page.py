"""The report as a reader opens it: in a browser, in LaTeX, and of several runs at once."""

import base64
import json
import re
import shutil
import subprocess
import urllib.parse

import numpy as np
import pytest

from flaxmask.names import Refused
from flaxmask.reporting import counts, figures, report, results
from flaxmask.reporting.table import Table
from tests.reporting.test_report import SETTINGS, counted, line

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LATEX = shutil.which("pdflatex")

ATTENDED = {
    "rows": [{"source": ["c", "a$b$", "</script>", "<pad>"], "target": ["<bos>", "他"]}],
    "maps": [
        {
            "name": "decoder_0/cross_attention",
            "query": "target",
            "key": "source",
            "weights": [[[[100, 200, 700, 0], [0, 1000, 0, 0]], [[300, 300, 400, 0], [500, 0, 500, 0]]]],
            "visible": [[[1, 1, 1, 0], [1, 1, 1, 0]]],
        },
        {
            "name": "encoder_0/self_attention",
            "query": "source",
            "key": "source",
            "weights": [[[[250, 250, 500, 0]] * 4] * 2],
            "visible": [[[1, 1, 1, 0]] * 4],
        },
    ],
}
POINTS = [
    {"updates": 10 * i, "real_tokens": 1e4 * i, "seconds": 2.0 * i, "training_loss": 4 / i, "per": 90 / i}
    for i in range(1, 5)
]
LENGTHS = {"length": [0, 3, 4], "examples": [0, 20, 30], "tokens": [0, 100, 220], "slots": [30, 160, 240]}


def run_in(directory, rows=("static", "packed"), seeds=(0, 1), experiment="padding"):
    """A folder as a run leaves it."""
    masks = {"mask": {"encoder": "segment", "decoder": "causal & segment", "cross": "segment"}}
    settings = SETTINGS | {
        "experiment": experiment,
        "rows": dict.fromkeys(SETTINGS["rows"], masks),
        "title": f"A <title> & more, {experiment} 100 %",
    }
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(settings))
    for row in rows:
        for seed in seeds:
            share = 0.2 + 0.2 * (row == "packed") + 0.01 * seed
            results.append(directory, line(row, seed, 1e4 * (1 + (row == "packed")) + seed, 100 * share))
            kept = results.Kept(directory, row, seed)
            counts.write(kept.counts, counted(share))
            for path, content in (
                (kept.curve, POINTS),
                (kept.lengths, LENGTHS),
                (kept.attention, ATTENDED),
            ):
                results.write_whole(path, json.dumps(content))
            results.write_whole(kept.audit.with_name(kept.audit.name + ".txt"), "audit: obeys <what> it declares\n")
    return directory


def files(directory):
    return {path.relative_to(directory): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_three_runs_give_the_same_bytes_twice(tmp_path):
    runs = [run_in(tmp_path / "a", seeds=(0,)), run_in(tmp_path / "b", seeds=(1,))]
    runs.append(run_in(tmp_path / "c", experiment="other"))
    first = report.write_joined(runs, tmp_path / "one")
    report.write_joined(runs, tmp_path / "two")
    one = files(tmp_path / "one")
    assert one == files(tmp_path / "two")
    names = {str(path) for path in one}
    assert {"table.md", "table.tex", "table.csv", "report.html", "figures/padding_learning_curves.png"} <= names
    assert {"figures/other_attention.svg", "figures/other_masks.png"} <= names
    assert len(first) == 2, "seeds of one experiment stand in one table"
    assert "±" in first[0].rows[0][2]
    csv = (tmp_path / "one" / "table.csv").read_text().splitlines()
    assert csv[0].startswith("experiment,row,seed,")
    assert len(csv) == 1 + 8


def test_runs_of_one_experiment_are_told_apart_by_their_folders(tmp_path):
    runs = [run_in(tmp_path / name, seeds=(0,)) for name in ("a", "b")]
    runs.append(run_in(tmp_path / "c", seeds=(0,), experiment="other"))
    settings = json.loads((runs[1] / "config.json").read_text())
    (runs[1] / "config.json").write_text(json.dumps(settings | {"scale": "paper"}))
    titles = [table.title for table in report.write_joined(runs, tmp_path / "out")]
    assert titles == ["A <title> & more (a)", "A <title> & more (b)", "A <title> & more"]
    drawn = {path.name for path in (tmp_path / "out" / "figures").glob("*learning_curves.png")}
    assert drawn == {f"{name}_learning_curves.png" for name in ("padding_a", "padding_b", "other")}
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<figcaption>") == 3 * html.count("<figcaption>other: ")
    assert "<figcaption>padding (b): Learning curves" in html
    assert "<summary>padding (a): static, seed 0</summary>" in html
    csv = (tmp_path / "out" / "table.csv").read_text().splitlines()
    assert [line.rsplit(",", 5)[0] for line in csv] == [
        "experiment,run",
        *("padding,a", "padding,a", "padding,b", "padding,b", "other,", "other,"),
    ]


def test_a_cell_with_two_results_is_refused(tmp_path):
    a, b = run_in(tmp_path / "a"), run_in(tmp_path / "b")
    assert len(report.join([a, b])) == 1, "the same line twice is one"
    text = (b / results.FILE).read_text()
    (b / results.FILE).write_text(text.replace('"per": 20.0', '"per": 20.5'))
    with pytest.raises(Refused, match=r"static, seed 0 has results in \S+a and others in \S+b"):
        report.join([a, b])
    with pytest.raises(Refused, match="holds a run of its own"):
        report.write_joined([a, run_in(tmp_path / "c", experiment="other")], b)


def test_each_mask_is_drawn_once_with_its_rows():
    other = ATTENDED | {"maps": [ATTENDED["maps"][0] | {"visible": [[[1, 0, 1, 0]] * 2]}, ATTENDED["maps"][1]]}
    rows = {"a": ATTENDED, "b": other, "c": ATTENDED}
    formulas = {row: {"encoder": "segment", "cross": "segment"} for row in rows}
    titles = lambda: [axes.get_title() for axes in figures.masks(rows, formulas).axes if axes.get_visible()]
    assert titles() == ["a, b, c, encoder:\nsegment", "a, c, cross:\nsegment", "b, cross:\nsegment"]
    formulas["c"] = formulas["c"] | {"encoder": "padding"}
    assert "c, encoder:\npadding" in titles(), "another formula that lets this example see the same"
    long = {f"row number {i}": ATTENDED for i in range(9)}
    [said, _] = [axes.get_title() for axes in figures.masks(long, {row: {} for row in long}).axes]
    assert said == "row number 0 and 8 more, encoder:\n?"


@pytest.mark.skipif(LATEX is None, reason="there is no pdflatex")
def test_the_table_compiles_in_latex(tmp_path):
    runs = [run_in(tmp_path / "a"), run_in(tmp_path / "b", experiment="other")]
    settings = json.loads((runs[1] / "config.json").read_text())
    name = "50 % {x_1} & #2 → −∞ × ~^ ≤ \\ $ <|> é"
    settings["parts"][0]["rows"] = [name, "static"]
    settings["rows"] = dict.fromkeys([name, "static"], settings["rows"]["static"])
    (runs[1] / "config.json").write_text(json.dumps(settings))
    results.append(runs[1], line(name, 0, 1.0, 2.0))
    report.write_joined(runs, tmp_path / "out")
    wide = Table("wide", tuple(f"metric {i} (unit)" for i in range(14)), (("1.2e-06 ± 3.0e-07",) * 14,))
    narrow = Table("narrow", ("row", "figure"), (("a row of some length, no more", "0.25"),) * 2)
    (tmp_path / "out" / "wide.tex").write_text(wide.latex() + "\n" + narrow.latex())
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\usepackage[T1]{fontenc}\parindent=0pt"
    (tmp_path / "out" / "all.tex").write_text(head + r"\begin{document}\input{table}\input{wide}\end{document}")
    done = subprocess.run(
        [LATEX, "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "out" / "all.pdf").stat().st_size > 5000


WATCH = """<script>
const said = [];
console.error = (...what) => said.push(what.join(" "));
addEventListener("error", (event) => said.push(event.message ?? "a resource"), true);
</script>"""
TRY = """<script>
const select = (id) => document.getElementById(id);
const choose = (id, value) => { select(id).value = value; select(id).dispatchEvent(new Event("change")); };
const found = {};
const table = document.querySelector("table.results");
const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent);
const click = (i) => table.tHead.rows[0].cells[i].firstElementChild.click();
found.before = column(0);
click(1); found.up = column(1);
click(1); found.down = column(1);
click(0); found.names = column(0);
found.sorted = [...table.tHead.rows[0].cells].map((head) => head.getAttribute("aria-sort"));
const said_of = (row) => [...row.cells].slice(1).map((cell) => cell.dataset.said);
const cells = () => [...select("weights").tBodies[0].rows].map(said_of);
found.first = cells();
found.hidden = select("weights").querySelectorAll("td.hidden").length;
choose("head", "1"); found.second = cells();
choose("head", "2"); found.mean = cells();
choose("map", "1"); found.other = cells();
choose("cell", "1"); found.kept = select("map").selectedOptions[0].textContent;
select("weights").tBodies[0].rows[1].cells[2].dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
found.hover = select("said").textContent;
found.requests = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
found.errors = said;
const textContent = btoa(encodeURIComponent(JSON.stringify(found)));
document.body.append(Object.assign(document.createElement("pre"), { id: "found", textContent }));
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_page_works_in_a_browser(tmp_path):
    """Without a network, an error or a request: columns sort, and the explorer shows what is chosen."""
    directory = run_in(tmp_path / "run")
    report.write(directory)
    page = (directory / "report.html").read_text()
    page = re.sub(r"<meta http-equiv=[^>]*>", "", page)  # which lets no other script run than the page's own
    tried = page.replace("<head>", "<head>" + WATCH, 1).replace("</body>", TRY + "</body>")
    (tmp_path / "tried.html").write_text(tried)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", f"file://{tmp_path / 'tried.html'}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    encoded = re.search(r'<pre id="found">([^<]+)</pre>', dom)
    assert encoded, "the script came to no end"
    found = json.loads(urllib.parse.unquote(base64.b64decode(encoded[1]).decode()))
    assert found["errors"] == []
    assert found["requests"] == []
    assert found["before"] == ["static", "packed"]
    assert found["up"] == sorted(found["up"], key=lambda cell: float(cell.split(" ")[0].replace(",", "")))
    assert found["down"] == found["up"][::-1] != found["up"]
    assert found["names"] == ["packed", "static"]
    assert found["sorted"][0] == "ascending"
    assert not any(found["sorted"][1:])
    assert found["first"][0] == [
        *("<bos> → c: 0.100", "<bos> → a$b$: 0.200", "<bos> → </script>: 0.700"),
        "<bos> → <pad>: 0.000, hidden by the mask",
    ]
    assert found["hidden"] == 2
    assert found["second"][1][0] == "他 → c: 0.500"
    assert found["mean"][0][0] == "<bos> → c: 0.200"
    assert np.shape(found["other"]) == (4, 4)
    assert found["kept"] == "encoder_0/self_attention", "what was chosen stays chosen"
    assert found["hover"] == "a$b$ → a$b$: 0.250"
