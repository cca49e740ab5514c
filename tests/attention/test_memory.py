"""How the memory of attention grows with the length of a row, by the compiler's own count."""

import pytest

from benchmarks.growth import attention_memory


@pytest.mark.parametrize(("implementation", "least", "most"), [("blockwise", 1.0, 2.2), ("xla", 3.5, 4.5)])
def test_growth_as_the_length_doubles(implementation, least, most):
    short, long = attention_memory(implementation, 2048), attention_memory(implementation, 4096)
    assert least < long["bytes"] / short["bytes"] < most
    assert 0 < long["truths"] < long["numbers"], "the mask is the largest array"
