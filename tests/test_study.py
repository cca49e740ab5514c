"""What attention computes and explains, of models whose answer is known."""

import dataclasses

import jax
import numpy as np
import pytest

from flaxmask import Batch, Tokens, study
from flaxmask.models.config import MaskConfig
from tests import toy


def batch_of(source, target):
    source, target = Tokens.of(np.array(source), layout="rows"), Tokens.of(np.array(target), layout="rows")
    weights = np.asarray(target.real, np.float32)
    return Batch(source, target, target.ids, weights, np.zeros_like(target.ids))


BATCH = batch_of([[5, 6, 7, 8, 9, 2], [5, 6, 7, 8, 2, 0]], [[1, 5, 6, 7], [1, 5, 6, 0]])


def test_cells_that_are_visible_are_counted_and_no_others():
    """By hand: real rows of 6 and 5 source tokens, of 4 and 3 target tokens, one layer of two heads of 8."""
    model, params = toy.model(), toy.params()
    encoder, decoder, cross = 36 + 25, 10 + 6, 24 + 15
    # Two heads of 8 make a width of 16; two products of a multiplication and an addition each.
    wanted = 4 * 16 * (encoder + decoder + cross) / (11 + 7)
    assert study.visible_flops(model, params, BATCH, toy.CONFIG) == pytest.approx(wanted)
    narrow = MaskConfig(encoder="segment & window(0)")
    less = study.visible_flops(toy.model(toy.CONFIG, narrow), params, BATCH, toy.CONFIG)
    assert less == pytest.approx(4 * 16 * (11 + decoder + cross) / 18)


def test_what_is_chosen_by_content_is_counted():
    few = MaskConfig(decoder="causal & segment & by(causal_top_4)")
    longer = batch_of([[5, 2]], [[1, 5, 6, 7, 8, 9, 10, 11]])
    count = lambda masks: study.visible_flops(toy.model(toy.CONFIG, masks), toy.params(), longer, toy.CONFIG)
    fewer = count(MaskConfig()) - count(few)
    assert fewer == pytest.approx(4 * 16 * (36 - (1 + 2 + 3 + 4 * 5)) / 10)


def test_attention_explains_a_model_of_one_position():
    """An encoder and a decoder without self-attention across positions: what is attended to is all there is."""
    config = dataclasses.replace(toy.CONFIG, heads=1)
    alone = MaskConfig(encoder="segment & window(0)", decoder="causal & segment & window(0)")
    model, params = toy.model(config, alone), toy.params(config, alone)
    # The scores of the cross-attention are made sharp, so that one position outweighs the others.
    sharp = jax.tree_util.tree_map_with_path(
        lambda path, x: 30 * x if any("cross" in str(p) for p in path) and "'query'" in str(path) else x, params
    )
    found = study.explained(model, sharp, BATCH)
    assert found["attention_top"] > 80
    assert found["attention_rank"] > 0.5


def test_hiding_what_is_not_read_moves_nothing():
    deaf = MaskConfig(cross="segment & ~full")
    model, params = toy.model(toy.CONFIG, deaf), toy.params()
    whole, _ = study._attended(model, params, BATCH)
    for at in range(BATCH.source.shape[1]):
        assert not np.any(np.asarray(study._moved(model, params, BATCH, whole, at))[BATCH.weights > 0])
    assert study.explained(model, params, BATCH)["attention_rank"] == 0.0, "of no weights there is no order"
