"""What a mask costs: operations and parameters follow from the configuration, and are what they must be."""

import numpy as np
import pytest

from experiments import _costs
from flaxmask.data.sources.length_histograms import BERT
from flaxmask.models.config import MaskConfig
from tests.data.sources.published import need


def test_masks_have_nothing_to_learn():
    formulas = ("full", "segment", "segment & window(4, 4)")
    assert len({_costs.parameters(MaskConfig(encoder=formula, cross=formula)) for formula in formulas}) == 1


@pytest.mark.parametrize("layout", ["static", "packed"])
def test_every_layout_holds_the_same_tokens(layout):
    need(BERT)
    batches = list(_costs.batches(layout))
    assert sum(int(np.count_nonzero(tokens.segments)) for tokens in batches) == sum(
        int(np.count_nonzero(tokens.segments)) for tokens in _costs.batches("bucketed")
    )
    assert all(tokens.shape[1] <= 512 for tokens in batches)


@pytest.mark.slow
def test_a_mask_saves_operations_where_blocks_are_skipped_and_nowhere_else(monkeypatch):
    need(BERT)
    monkeypatch.setattr(_costs, "TIMES", 1)
    monkeypatch.setattr(_costs, "WARM", 0)
    found = {way: _costs.measure("static", way).metrics for way in _costs.WAYS}
    assert found["dense mask"]["attention_flops"] == found["no mask"]["attention_flops"]
    assert found["skipped blocks"]["attention_flops"] < 0.9 * found["no mask"]["attention_flops"]
    assert found["skipped blocks"]["peak_memory_bytes"] < 0.5 * found["dense mask"]["peak_memory_bytes"]
    assert len({of["parameters"] for of in found.values()}) == 1
