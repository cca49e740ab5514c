"""The ledger: its page follows from the results that are kept, and each verdict from planted figures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments._ledger import CLAIMS, PUBLISHED, ledger
from flaxmask.names import Refused
from flaxmask.reporting.ledger import Above, Better, Claim, Fact, Level, Steadier, Table, markdown, read

ROOT = Path(__file__).parent.parent.parent


def table(**rows):
    """Rows with a value of "per" for each seed."""
    lines = [
        {"row": row, "seed": seed, "metrics": {"per": value, "step_milliseconds": value, "leaks": value}}
        for row, values in rows.items()
        for seed, value in enumerate(values)
    ]
    return Table("planted", lines, {})


def verdict(test, **rows):
    return test(table(**rows)).verdict


FAR, NEAR, NOISY = [20.0, 20.1, 19.9, 20.2, 19.8], [20.05, 20.0, 20.0, 20.1, 19.9], [10.0, 30.0, 18.0, 25.0, 17.0]
BEST = [10.0, 10.1, 9.9, 10.3, 9.7]


def test_the_page_is_what_the_command_makes_of_the_results():
    assert (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8") == ledger()


def test_every_claim_has_a_row_or_a_reason():
    assert len(CLAIMS) >= 30
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert bool(claim.test) != bool(claim.reason), claim.id
        assert bool(claim.test) == bool(claim.experiment), claim.id
        assert claim.test is None or not claim.ill_posed, claim.id


def test_a_verdict_follows_from_the_files_alone(tmp_path):
    """The same command on results in which a leak was mended says otherwise of this claim, and of no other."""
    shutil.copytree(PUBLISHED / "specimens", tmp_path / "specimens")
    file = tmp_path / "specimens" / "results.jsonl"
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    for line in lines:
        if line["row"] == "weights times mask, literal":
            line["metrics"]["leaks"] = 0
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    claims = [claim for claim in CLAIMS if claim.experiment == "specimens"]
    before, after = read(claims, PUBLISHED), read(claims, tmp_path)
    changed = [c.id for c in claims if c.found(before).verdict != c.found(after).verdict]
    assert [c.says for c in claims if c.id in changed] == [
        "A mask multiplied onto the weights after the softmax hides padding"
    ]


def test_a_difference_is_confirmed_refuted_none_or_open():
    better = Better("ours", "theirs", "per", 1.0)
    assert verdict(better, ours=BEST, theirs=FAR) == "confirmed"
    assert verdict(better, ours=FAR, theirs=BEST) == "refuted"
    assert verdict(better, ours=NEAR, theirs=FAR) == "no effect"
    assert verdict(better, ours=NOISY, theirs=FAR) == "open"


def test_as_good_as_another_is_within_the_margin_or_better():
    level = Level("ours", "theirs", "per", 1.0)
    assert verdict(level, ours=NEAR, theirs=FAR) == "confirmed"
    assert verdict(level, ours=FAR, theirs=BEST) == "refuted"
    assert verdict(level, ours=BEST, theirs=FAR) == "confirmed"
    assert verdict(level, ours=NOISY, theirs=FAR) == "open"


def test_no_effect_is_shown_and_not_what_a_missing_star_says():
    """Of rows without a difference few are called different, and noisy ones are open: never "no effect"."""
    rng = np.random.default_rng(0)
    said = []
    for _ in range(300):
        ours, theirs = rng.normal(20, 3, (2, 5))
        said.append(verdict(Better("ours", "theirs", "per", 1.0), ours=list(ours), theirs=list(theirs)))
    assert said.count("confirmed") + said.count("refuted") < 0.09 * len(said)
    assert said.count("no effect") < 0.06 * len(said)
    assert said.count("open") > 0.85 * len(said)


def test_the_smallest_effect_would_be_seen_four_times_of_five():
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(400):
        theirs = rng.normal(20, 1, 8)
        ours = theirs + rng.normal(0, 1, 8)
        smallest = float(Better("ours", "theirs", "per", 0.01)(table(ours=ours, theirs=theirs)).smallest.split()[0])
        moved = theirs + rng.normal(0, 1, 8) - smallest
        seen += verdict(Better("ours", "theirs", "per", 0.01), ours=list(moved), theirs=list(theirs)) == "confirmed"
    assert 0.7 < seen / 400 < 0.9


def test_spreads_are_compared_by_their_ratio():
    steadier = Steadier("ours", "theirs", "per")
    assert verdict(steadier, ours=FAR, theirs=NOISY) == "confirmed"
    assert verdict(steadier, ours=NOISY, theirs=FAR) == "refuted"
    assert verdict(steadier, ours=FAR, theirs=BEST) == "open"


def test_a_mean_lies_above_a_bound_or_below_it():
    assert verdict(Above("ours", "per", 15.0), ours=FAR) == "confirmed"
    assert verdict(Above("ours", "per", 25.0), ours=FAR) == "refuted"
    assert verdict(Above("ours", "per", 20.0), ours=FAR) == "open"


@pytest.mark.parametrize(
    ("relation", "to", "wanted"),
    [("=", 0.0, "refuted"), (">", 0.0, "confirmed"), ("<", "same", "no effect"), ("<", "more", "confirmed")],
)
def test_figures_of_the_configuration_are_compared_as_they_are(relation, to, wanted):
    rows = {"ours": [3.0], "same": [3.0], "more": [3.0001]}
    assert verdict(Fact("ours", "leaks", relation, to), **rows) == wanted


def test_times_must_be_well_apart():
    rows = {"ours": [100.0], "near": [110.0], "far": [130.0]}
    assert verdict(Fact("ours", "step_milliseconds", "<", "near"), **rows) == "no effect"
    assert verdict(Fact("ours", "step_milliseconds", "<", "far"), **rows) == "confirmed"
    assert verdict(Fact("far", "step_milliseconds", "<", "ours"), **rows) == "refuted"


def test_what_cannot_be_tested_is_said():
    with pytest.raises(Refused, match="no row 'nobody' with 'per'"):
        verdict(Fact("nobody", "per", "<", 1.0), ours=[1.0])
    with pytest.raises(Refused, match="neither several seeds nor counts"):
        verdict(Better("ours", "theirs", "per", 1.0), ours=[1.0], theirs=[2.0])


def test_a_page_counts_its_verdicts():
    claims = (
        Claim("X1", "003", "a | b", "planted", Fact("ours", "leaks", "=", 3.0)),
        Claim("X2", "003", "says nothing", reason="because", ill_posed=True),
    )
    page = markdown(claims, {"planted": table(ours=[3.0])})
    assert page.startswith("2 claims: 1 confirmed, 1 ill-posed.")
    assert "| X1 | 003 | a \\| b |" in page
    assert "| because | **ill-posed** |" in page
