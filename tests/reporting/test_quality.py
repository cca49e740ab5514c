"""Figures of quality by length and against cost, and Chinese text in figures."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxmask.reporting import figures, quality

CHINESE = "猫坐在垫子上。"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=500), st.none() | st.integers(1, 40))
def test_bins_hold_every_length_and_none_goes_across_what_was_trained(lengths, longest):
    ordered = np.sort(lengths)
    edges = quality.bins(ordered, longest)
    assert np.all(np.diff(edges) > 0)
    assert edges[0] == ordered[0]
    assert edges[-1] == ordered[-1] + 1
    assert len(edges) <= 2 * quality.BINS + 1
    if longest is not None and ordered[0] <= longest < ordered[-1]:
        assert any(longest < edge <= ordered[ordered > longest][0] for edge in edges)


def counted(wrong, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 17, (400, 1))
    return {"length": lengths, "wer": np.stack([rng.random(400) < wrong(lengths[:, 0]), np.ones(400)], axis=1)}


def test_a_score_is_drawn_at_its_lengths_with_a_band():
    rows = {
        "steady": [counted(lambda n: 0 * n + 0.2, seed) for seed in range(3)],
        "worse when longer": [counted(lambda n: n / 16)],
    }
    axes = quality.by_length(rows, "wer", longest=8).axes[0]
    steady, worse = (line.get_ydata() for line in axes.get_lines()[:2])
    assert np.ptp(steady) < 20
    assert worse[0] < 20 < 70 < worse[-1]
    assert len(axes.collections) == 2, "a band each, of seeds or of examples"


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_what_is_joined_nobody_beats_and_all_others_somebody_does(points):
    best = quality.unbeaten(points, False, True)
    better = lambda a, b: a[0] <= b[0] and a[1] >= b[1] and a != b
    for row, of in points.items():
        assert (row in best) != any(better(other, of) for other in points.values())
    assert best == sorted(best, key=lambda row: points[row])


def test_a_front_is_drawn_of_rows_that_have_both():
    lines = [
        {"row": row, "metrics": {"visible_flops": cost, "loss": loss}}
        for row, cost, loss in (("a", 1e3, 5.0), ("a", 1e3, 5.2), ("b", 4e3, 4.0), ("c", 5e3, 4.5), ("d", 1e3, np.nan))
    ]
    figure = quality.front(["a", "b", "c", "d"], lines, "visible_flops", "loss")
    joined = next(line for line in figure.axes[0].get_lines() if line.get_color() == "#999999")
    assert list(joined.get_xdata()) == [1.0, 4.0], "c costs more than b and is worse"


def heat_map():
    tokens = [*CHINESE, "</s>"]
    size = len(tokens)
    cells = [[[0] * size] * size]
    one = {"name": "猫", "query": "target", "key": "target", "weights": [cells], "visible": cells}
    return figures.heat_maps({"中文": {"rows": [{"target": tokens}], "maps": [one]}})


@pytest.mark.slow
def test_chinese_is_drawn_with_real_glyphs(tmp_path):
    if not all(ord(char) in figures._characters()[1] for char in CHINESE):
        pytest.skip("no font with Chinese characters is installed: pip install 'flaxmask[fonts]'")
    figure = heat_map()
    legend = quality.by_length({"中文": [counted(lambda n: n / 16)]}, "wer")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure.savefig(tmp_path / "drawn.png")
        legend.savefig(tmp_path / "legend.png")
    assert [str(one.message) for one in said if "missing from" in str(one.message)] == []
    assert figure.axes[0].get_xticklabels()[0].get_text() == "猫"


def test_without_a_font_a_box_is_drawn_and_nobody_is_warned(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "_characters", lambda: (["DejaVu Sans"], set(range(32, 127)) | {ord("□")}))
    figure = heat_map()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure.savefig(tmp_path / "drawn.png")
    assert not [one for one in said if "missing from" in str(one.message)]
    assert figure.axes[0].get_xticklabels()[0].get_text() == "□"
