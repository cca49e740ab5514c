"""Trials of input that nobody should trust, with all their counts."""

import pytest

from benchmarks.reliability import fuzz, inert, input, slips
from benchmarks.reliability import tampered_folders as folders
from flaxmask.names import Refused


def held(outcomes):
    for outcome in outcomes:
        assert outcome.held, outcome


@pytest.mark.slow
def test_folders_that_were_tampered_with(tmp_path):
    held(input.hostile_reports(tmp_path))


@pytest.mark.slow
def test_checkpoints_that_were_tampered_with(tmp_path):
    held(input.hostile_checkpoints(tmp_path))


def test_settings_that_nobody_meant(tmp_path):
    assert len(slips.slips(tmp_path)) >= 50
    held(input.wrong_settings(tmp_path / "all", alone=2))


@pytest.mark.slow
def test_faults_by_the_thousand(tmp_path):
    held(input.faults(tmp_path, 100_000))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_few_faults_of_each_kind(tmp_path):
    for one in fuzz.all_targets(tmp_path / "fuzz", 500):
        assert not one.crashes, one.crashes
        assert one.inputs


def test_the_tally_sees_what_crashes():
    """Errors of others, errors of ours in two lines, and errors that are only said to be of ours."""

    def read(text):
        if len(text) % 3 == 0:
            raise [IndexError("x"), Refused("x"), UnicodeError("x"), ValueError("a\nb")][len(text) % 4]

    found = fuzz.tally("lengths", read, fuzz.st.text(max_size=12), 300, ValueError)
    assert found.accepted > 0
    assert found.refused > 0
    assert {crash.split(": ")[1] for crash in found.crashes} == {"IndexError", "UnicodeError", "ValueError"}


MORE = (
    "<script>alert(1)</script>",
    '<img src="https://example.org/a.png">',
    "<b onclick=alert(1)>",
    "<svg/onload=alert(1)>",
    '<a href="javascript:alert(1)">',
    '<meta http-equiv="refresh" content="0; url=//example.org">',
)


def test_a_page_that_does_more_is_seen(tmp_path):
    from flaxmask.reporting import report

    report.write(folder := folders.make(tmp_path / "run"))
    page = (folder / "report.html").read_text()
    assert inert.wrong(page) == []
    for added in MORE:
        assert inert.wrong(page.replace("<body>", "<body>" + added)), added
    assert inert.wrong(page.replace("sha256-", "sha256-A"))
