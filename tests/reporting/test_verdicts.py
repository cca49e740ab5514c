from flaxmask.reporting.verdicts import verdict

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
