import numpy as np
import pytest

from flaxmask import Tokens, masks
from tests.toy import batches, examples


def test_a_drawing_names_every_cell_and_can_be_drawn_twice():
    tokens = Tokens.of(np.array([[5, 6, 7, 0]]), layout="rows")
    wanted = "■ · · ·\n■ ■ · ·\n■ ■ ■ ·\n· · · ·"
    assert masks.draw(masks.causal & masks.segment, tokens, tokens) == wanted
    assert masks.draw(masks.causal & masks.segment, tokens, tokens) == wanted


def test_a_mask_by_content_is_drawn_with_its_scores():
    tokens = Tokens.of(np.ones((1, 3), int))
    loudest = masks.By(lambda scores, query, key: scores == scores.max(axis=-1, keepdims=True))
    scores = np.array([[[[3.0, 1, 2], [1, 2, 3], [2, 3, 1]]]], np.float32)
    assert masks.draw(loudest, tokens, tokens, scores) == "■ · ·\n· · ■\n· ■ ·"
    with pytest.raises(ValueError, match="needs scores, which are not known here"):
        masks.draw(loudest, tokens, tokens)


def test_a_figure_has_a_cell_for_each_pair():
    tokens = batches(examples(4), "packed", 4, pack_length=16)[0].source
    figure = masks.figure(masks.segment, tokens, tokens)
    drawn = figure.axes[0].collections[0].get_array()
    np.testing.assert_array_equal(np.asarray(drawn).reshape(tokens.shape[1], -1), masks.segment(tokens, tokens)[0, 0])
