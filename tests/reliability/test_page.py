"""The table in the documentation is made of the figures that were kept."""

import json

from benchmarks.reliability.__main__ import FIGURES, PAGE, TOPICS, page


def test_the_page_is_that_of_the_figures():
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert set(figures["outcomes"]) == set(TOPICS)
    assert all(outcomes for outcomes in figures["outcomes"].values())
    text = PAGE.read_text(encoding="utf-8")
    assert page(figures, text) == text
