"""The command line, as a user meets it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import run
from flaxmask import commands, lock
from flaxmask import experiment as experiments
from flaxmask.experiment import Config, find
from flaxmask.names import Refused
from flaxmask.overrides import keys
from flaxmask.reporting import results, tracking
from flaxmask.reporting.metrics import MEASURED, METRICS

ROOT = Path(__file__).parent.parent
PADDING = find("padding", ROOT / "experiments")


def command(*arguments, **environment):
    """Run in a process of its own."""
    line, environment = [sys.executable, "run.py", *arguments], os.environ | environment
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "paddin"], "no experiment is called 'paddin'; did you mean 'padding'?"),
        (
            ["--experiment", "padding", "data.lenght=8"],
            "no setting is called 'data.lenght'; did you mean 'data.length'?",
        ),
        (["--experiment", "padding", "training.epochs=many"], "training.epochs=many: expected int"),
        (["--experiment", "padding", "data.length=x"], "data.length=x: expected int or None"),
        (
            ["--experiment", "padding", "model.norm=pree"],
            "model.norm=pree: expected one of pre, post; did you mean 'pre'?",
        ),
        (
            ["--experiment", "padding", "model.heads=7"],
            "model.heads=7: heads: expected a divisor of d_model 128, got 7",
        ),
        (
            ["--experiment", "padding", "mask.decoder=causl"],
            "character 1: no mask is called 'causl'; did you mean 'causal'?",
        ),
        (
            ["--experiment", "padding", "data.layout=static"],
            "data.layout differs between the rows of padding",
        ),
        (["--experiment", "padding", "--row", "pakced"], "--row pakced: did you mean 'packed'?"),
        (
            ["--experiment", "padding", "data.padding_side=left"],
            "data.padding_side=left is for layouts of one example a row",
        ),
        (["--experiment", "g2p", "data.task=lm", "data.shift=False"], "data.shift=False is for tasks of a source"),
        (
            ["--experiment", "padding", "data.mask_unit=span"],
            "data.mask_unit and data.mask_copies are for mlm, not for g2p",
        ),
        (["--experiment", "padding", "data.sample=cat"], "data.sample is for text_to_text, not for g2p"),
        (["--experiment", "g2p", "mask.decoder=full"], "architecture=recurrent reads in its own order"),
        (["--experiment", "padding", "finetune.name=sentence_polarity"], "finetune.name: a masked language model"),
        (
            ["--experiment", "g2p", "data.task=lm", "recurrent.bidirectional=True"],
            "recurrent.bidirectional: lm would read the answer from the end",
        ),
        (["--experiment", "padding", "--scale", "qick"], "--scale qick: did you mean 'quick'?"),
        (["--experiment", "padding", "--parallel", "pmpa"], "--parallel pmpa: did you mean 'pmap'?"),
        (
            ["--experiment", "padding", "--parallel", "pmap", "training.shard_parameters=True"],
            "training.shard_parameters: pmap gives every device all of them; leave out --parallel pmap",
        ),
        (["--experiment", "padding", "--seeds", "0"], "--seeds 0: expected at least 1"),
        (["--experiment", "padding", "--seeds", "x"], "invalid int value"),
        (["--experiment", "padding", "--track", "tensorbord"], "--track tensorbord: did you mean 'tensorboard'?"),
        (["--experiment", "padding", "epochs"], "'epochs': expected an override such as training.epochs=2"),
        (["--experimnt", "padding"], "--experimnt"),
        ([], "nothing to do"),
        (["--report", "nowhere"], "nowhere holds no run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert run.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--list"], ["--help"], ["--experiment", "paddin"], ["--experiment", "padding", "model.heads=7"]],
)
def test_what_needs_no_jax_starts_none(arguments):
    program = (
        "import sys, run\n"
        "try: code = run.main(sys.argv[1:])\n"
        "except SystemExit as e: code = e.code\n"
        "assert not {'jax', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == (2 if "--experiment" in arguments else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_list_names_the_experiments(capsys):
    assert run.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert "padding: " in out
    assert "static; dynamic; bucketed; packed" in out
    assert out.count("no expectation") == 0


def test_every_page_is_whole():
    for name in run.experiments.names_in(run.EXPERIMENTS):
        page = find(name, run.EXPERIMENTS)
        assert page.name == name
        assert set(page.scales) == set(page.seeds) == set(page.expected) == {"smoke", "quick", "paper"}
        columns = [name for part in (page, *page.parts) for name in part.columns]
        assert set(columns) <= set(METRICS)
        shown = [row for part in page.parts for row in part.rows]
        assert list(dict.fromkeys(shown)) == list(page.rows) or not page.parts, "every row is in a table"
        for row, figures in page.published.items():
            assert row in page.rows
            assert set(figures) <= set(METRICS)
        for scale in page.scales:
            configs = page.configs(scale, {})
            assert set(configs) == set(page.rows) - set(page.left_out.get(scale, ()))
        for changes in page.rows.values():
            assert set(changes) <= set(keys(Config()))


def test_an_override_reaches_every_row():
    configs = PADDING.configs("quick", {"training.epochs": "3", "mask.decoder": "causal & segment & window(8)"})
    assert {c.training.epochs for c in configs.values()} == {3}
    assert {str(c.mask.formula("decoder")) for c in configs.values()} == {"causal & segment & window(8)"}
    assert [c.data.layout for c in configs.values()] == ["static", "dynamic", "bucketed", "packed"]


def test_overrides_that_fit_only_together_are_made_together():
    for changes in ({"model.d_model": "66", "model.heads": "6"}, {"model.heads": "6", "model.d_model": "66"}):
        assert {c.model.heads for c in PADDING.configs("quick", changes).values()} == {6}


ROWS = ("static", "packed")
TINY = (
    *("--row", "static", "--row", "packed"),
    "data.train_examples=96",
    "data.batch_examples=32",
    "data.evaluation_examples=20",
    "data.shapes=1",
    "data.length=10",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two rows, so small that it takes seconds."""
    workdir = tmp_path_factory.mktemp("runs") / "padding"
    done = command("--experiment", "padding", "--scale", "smoke", "--workdir", str(workdir), *TINY)
    assert done.returncode == 0, done.stderr
    return workdir, done


def lines(workdir):
    return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


def test_a_run_leaves_the_contract_s_files(finished):
    workdir, done = finished
    for name in ("results.jsonl", "table.md", "table.tex", "table.csv", "report.html", "config.json"):
        assert (workdir / name).stat().st_size > 0
    assert list((workdir / "figures").glob("*.png"))
    assert [line["row"] for line in lines(workdir)] == list(ROWS)
    assert "packed" in done.stdout
    assert "packed, seed 0: 2 of 2; about " in done.stderr
    for row in ROWS:
        for folder, ending in (("counts", "npz"), ("lengths", "json"), ("attention", "json")):
            assert (workdir / folder / f"{row}-0.{ending}").exists()
    updates = [(line["row"], line["update"]) for line in tracking.read(workdir / "metrics.jsonl")]
    assert updates == [(row, update) for row in ROWS for update in (1, 2, 3)]


def test_a_line_has_the_contract_s_keys(finished):
    for line in lines(finished[0]):
        assert set(line) == {"experiment", "row", "seed", "scale", "metrics", "config", "provenance"}
        measured = {"real_tokens_per_second", "step_milliseconds", "compile_count", "compile_seconds"}
        wanted = measured | {"peak_memory_bytes", "real_token_fraction", "loss", "per", "wer", "truncated_examples"}
        assert wanted <= set(line["metrics"])
        assert set(line["metrics"]) <= set(METRICS)
        assert set(line["provenance"]) == {
            "git",
            "dirty",
            "versions",
            "devices",
            "command",
            "started",
            "seconds",
            "config_sha256",
            *(("load", "own_load", "cpus") if hasattr(os, "getloadavg") else ()),
        }
        assert line["config"]["data"]["layout"] == line["row"]
        assert 0 < line["metrics"]["real_token_fraction"] <= 1
        assert line["metrics"]["real_tokens"] == lines(finished[0])[0]["metrics"]["real_tokens"], "equal budgets"


def test_every_cell_is_audited(finished):
    workdir, _ = finished
    for line in lines(workdir):
        found = {name: line["metrics"][name] for name in ("leaks", "dead", "nan_outputs")}
        assert found == {"leaks": 0, "dead": 0, "nan_outputs": 0}
        assert 0 <= line["metrics"]["batch_drift"] < 1e-5, "0 to the last bit with some compilers"
        kept = workdir / "audit" / f"{line['row']}-0"
        whole = json.loads(kept.with_suffix(".json").read_text())
        assert whole["trained"]["ok"]
        assert whole["flat"]["ok"]
        assert kept.with_suffix(".png").stat().st_size > 0
    assert "leaks" in (workdir / "table.md").read_text()


def test_the_audit_is_printed_of_every_row(finished):
    workdir, _ = finished
    done = command("--experiment", "padding", "--scale", "smoke", "--workdir", str(workdir), "--audit", *TINY)
    for row in ROWS:
        assert f"{row}, seed 0\nas trained: audit: obeys what it declares: 0 leaks" in done.stdout
    assert "batch drift: at most" in done.stdout


def test_static_and_packed_learn_the_same(finished):
    """One order, one start, equal updates: the losses differ by rounding alone."""
    losses = {line["row"]: line["metrics"]["loss"] for line in lines(finished[0])}
    assert losses["packed"] == pytest.approx(losses["static"], rel=1e-4)


def test_the_same_command_again_computes_nothing(finished):
    workdir, _ = finished
    before = (workdir / "results.jsonl").read_bytes()
    assert command("--experiment", "padding", "--scale", "smoke", "--workdir", str(workdir), *TINY).returncode == 0
    assert (workdir / "results.jsonl").read_bytes() == before


@pytest.mark.slow
def test_lost_lines_are_computed_again_from_the_checkpoints(finished):
    workdir, _ = finished
    before = lines(workdir)
    whole = (workdir / "results.jsonl").read_text().splitlines(keepends=True)
    (workdir / "results.jsonl").write_text("".join(whole[:-1]))
    assert command("--experiment", "padding", "--scale", "smoke", "--workdir", str(workdir), *TINY).returncode == 0
    same = lambda line: {name: value for name, value in line["metrics"].items() if name not in MEASURED}
    assert [same(line) for line in lines(workdir)] == [same(line) for line in before]


def test_a_folder_of_another_configuration_is_not_overwritten(finished, capsys):
    workdir, _ = finished
    before = (workdir / "results.jsonl").read_bytes()
    assert (
        run.main(
            [
                "--experiment",
                "padding",
                "--scale",
                "smoke",
                "--workdir",
                str(workdir),
                *TINY,
                "training.epochs=2",
            ]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert "rows.static.training.epochs is 1 there and 2 here" in error
    assert "--workdir" in error
    assert (workdir / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["results.jsonl", "config.json"])
def test_a_broken_file_is_named(finished, tmp_path, capsys, name):
    copied = tmp_path / "run"
    shutil.copytree(finished[0], copied, ignore=shutil.ignore_patterns("checkpoints"))
    (copied / name).write_text((copied / name).read_text()[:-20])
    command = ["--experiment", "padding", "--scale", "smoke", "--workdir", str(copied), *TINY]
    for arguments in (command, ["--report", str(copied)]):
        assert run.main(arguments) == 2
        error = capsys.readouterr().err
        assert f"{name}" in error
        assert "not readable" in error
        assert error.count("\n") == 1


def test_a_run_that_computed_nothing_does_not_keep_its_folder(tmp_path):
    smoke, quick = (
        experiments.Run(PADDING, scale, 1, tmp_path, PADDING.configs(scale, {})) for scale in ("smoke", "quick")
    )
    smoke.claim()
    quick.claim()
    (tmp_path / "checkpoints" / "static-0").mkdir(parents=True)
    with pytest.raises(Refused, match="scale is 'quick' there and 'smoke' here"):
        smoke.claim()


def test_rows_that_are_named_are_filled_and_others_stay_open(tmp_path):
    configs = PADDING.configs("smoke", {})
    some = experiments.Run(PADDING, "smoke", 2, tmp_path, configs, only=("packed", "static"))
    assert some.cells() == [("static", 0), ("packed", 0), ("static", 1), ("packed", 1)]
    assert some.settings() == experiments.Run(PADDING, "smoke", 2, tmp_path, configs).settings(), "one folder"


def test_what_is_no_number_is_kept_and_the_file_stays_json(tmp_path):
    line = {"row": "a", "seed": 0, "metrics": {"loss": float("nan"), "batch_drift": float("inf"), "leaks": 3}}
    results.append(tmp_path, line)
    results.append(tmp_path, line | {"seed": 1})
    refuse = lambda text: pytest.fail(f"{text} is not JSON")
    for text in (tmp_path / "results.jsonl").read_text().splitlines():
        json.loads(text, parse_constant=refuse)
    for read in results.read(tmp_path):
        assert np.isnan(read["metrics"]["loss"])
        assert read["metrics"]["batch_drift"] == np.inf
        assert isinstance(read["metrics"]["leaks"], int)


def test_a_report_is_written_anew(finished, capsys):
    workdir, _ = finished
    (workdir / "table.md").unlink()
    assert run.main(["--report", str(workdir)]) == 0
    assert (workdir / "table.md").exists()
    assert "packed" in capsys.readouterr().out


def test_what_is_cut_is_counted(finished):
    counted = {line["metrics"]["truncated_examples"] for line in lines(finished[0])}
    assert len(counted) == 1, "the task cuts, not the layout"
    assert counted.pop() > 10


def test_a_folder_in_use_is_refused_in_one_line_and_its_report_only_shown(finished, capsys):
    workdir, _ = finished
    with lock.held(workdir):
        assert run.main(["--experiment", "padding", "--scale", "smoke", "--workdir", str(workdir), *TINY]) == 2
        refused = capsys.readouterr().err
        before = (workdir / "table.md").stat().st_mtime_ns
        assert run.main(["--report", str(workdir)]) == 0
        out, err = capsys.readouterr()
    assert refused.count("\n") == 1
    assert f"run.py: {workdir} is in use by process {os.getpid()} on " in refused
    assert "wait for it with --wait" in refused
    assert "packed" in out
    assert "in use by process" in err
    assert (workdir / "table.md").stat().st_mtime_ns == before
    assert not (workdir / lock.FILE).exists()


@pytest.mark.slow
def test_a_dry_run_computes_no_result(tmp_path):
    done = command(
        "--experiment", "padding", "--scale", "smoke", "--dry-run", "--workdir", str(tmp_path / "run"), *TINY
    )
    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_page_that_cannot_be_read_hides_no_other(tmp_path, monkeypatch, capsys):
    pages = tmp_path / "some_pages"
    pages.mkdir()
    good = "from flaxmask.experiment import Experiment\nEXPERIMENT = Experiment('{}', 'Why?', {{}}, {{}}, ({!r},))\n"
    (pages / "a_helper.py").write_text("x = 1\n")
    (pages / "column.py").write_text(good.format("column", "leeks"))
    (pages / "good.py").write_text(good.format("good", "leaks"))
    (pages / "slip.py").write_text("x = = 1\n")
    monkeypatch.setattr(run, "EXPERIMENTS", pages)
    monkeypatch.setattr(commands, "EXPERIMENTS", pages)
    assert run.main(["--list"]) == 0
    helper, column, page, *_, slip = capsys.readouterr().out.splitlines()
    assert "a_helper.py has no EXPERIMENT; a file that is no page is called _a_helper.py" in helper
    assert "no metric is called 'leeks'; did you mean 'leaks'" in column
    assert page == "good: Why?"
    assert "slip.py cannot be read (SyntaxError: invalid syntax" in slip
    assert run.main(["--experiment", "good", "--scale", "smoke"]) == 2
    assert "good has no scale smoke" in capsys.readouterr().err


def test_every_option_belongs_to_what_can_be_done():
    options, _ = run.parse(["--list"])
    assert set(vars(options)) == {*run.ACTIONS, *(name for takes in run.ACTIONS.values() for name in takes)}
