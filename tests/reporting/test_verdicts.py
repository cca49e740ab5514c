import random

import pytest

from flaxmask.reporting.verdicts import equivalence, verdict

PRINTED = {"a": {"bleu": "27.0"}, "b": {"bleu": "26.5"}, "c": {"bleu": "25.1"}, "ours alone": {}}


def lines(**bleu):
    return {row: [{"bleu": value} for value in bleu.get(row.replace(" ", "_"), ())] for row in PRINTED}


def words(compared, **bleu):
    return [verdict(row, lines(**bleu), PRINTED, compared) for row in PRINTED]


def test_a_trend_is_the_order_of_the_rows():
    assert words("trend", a=[9.0], b=[8.0], c=[7.0]) == ["trend holds"] * 3 + ["–"]
    assert words("trend", a=[9.0], b=[6.0], c=[7.0]) == ["trend holds", "trend fails", "trend fails", "–"]
    assert words("trend", a=[0.0], b=[0.0]) == ["trend fails", "trend fails", "–", "–"], "a tie is no order"
    assert words("trend", a=[9.0], b=[float("nan")]) == ["trend fails", "trend fails", "–", "–"]
    assert words("trend", a=[9.0]) == ["–"] * 4, "nothing to stand beside"


def test_a_level_is_reached_or_missed_by_more_than_the_spread():
    assert words("level", a=[27.2], b=[26.4], c=[25.0, 25.4, 24.6]) == ["reproduced", "falls short", "reproduced", "–"]
    low = {"x": {"wer": "22.1"}}
    assert verdict("x", {"x": [{"wer": 21.9}]}, low, "level") == "reproduced", "lower is better"
    assert verdict("x", {"x": [{"wer": 22.4}]}, low, "level") == "falls short"


def test_exact_is_every_digit():
    assert words("exact", a=[27.04], b=[26.44], c=[25.1, 25.2]) == ["reproduced", "falls short", "falls short", "–"]


def test_equivalence_is_shown_by_enough_examples_that_agree():
    draw = random.Random(0)
    right = [float(draw.random() < 0.7) for _ in range(2000)]
    flip = lambda share: [1 - r if draw.random() < share else r for r in right]
    assert equivalence(flip(0.02), right, 0.02) < 0.01
    assert equivalence(flip(0.02)[:60], right[:60], 0.02) > 0.05, "too few to show it"
    worse = [r * (draw.random() > 0.06) for r in right]
    assert equivalence(worse, right, 0.02) > 0.9
    assert equivalence(right, [r - 0.05 for r in right], 0.02) == 1.0
    with pytest.raises(ValueError, match="at least 2"):
        equivalence([1.0], [1.0], 0.1)
    with pytest.raises(ValueError):
        equivalence([1.0, 1.0], [1.0], 0.1)


def test_one_in_twenty_is_shown_where_the_difference_is_the_margin_itself():
    """The level of the test."""
    draw = random.Random(1)
    low = 0
    for _ in range(400):
        ours = [draw.gauss(0.02, 0.3) for _ in range(300)]
        low += equivalence(ours, [0.0] * 300, 0.02) < 0.05
    assert low <= 34, "20 expected; more than 34 comes once in 1,000"
