"""Pages whose tables a benchmark writes: they hold what the kept figures say."""

import json

import pytest

from benchmarks import growth, pages, scaling


@pytest.mark.parametrize(("name", "benchmark"), [("speed.md", growth), ("scaling.md", scaling)])
def test_tables_are_those_of_the_kept_figures(name, benchmark):
    figures = json.loads(benchmark.FIGURES.read_text(encoding="utf-8"))
    text = (pages.DOCS / name).read_text(encoding="utf-8")
    tables = benchmark.tables(figures)
    assert len(tables) == text.count("<!-- end of")
    assert pages.filled(text, tables) == text


def test_a_table_is_put_in_the_place_of_the_older_one():
    text = "before\n<!-- a -->\nold\n\n<!-- end of a -->\nafter\n"
    once = pages.filled(text, {"a": ["new", "lines"]})
    assert once == "before\n<!-- a -->\nnew\nlines\n\n<!-- end of a -->\nafter\n"
    assert pages.filled(once, {"a": ["new", "lines"]}) == once


def test_the_largest_arrays_of_a_program():
    program = (
        "%fused_1 {\n  %x = f32[4096]{0} add(%a, %b)\n}\n"
        "ENTRY %main {\n  %m = pred[8,128]{1,0} compare(%a, %b)\n  %y = f32[64]{0} add(%a, %b)\n}\n"
    )
    assert growth.arrays_in(program) == {"truths": 1024, "numbers": 256}
