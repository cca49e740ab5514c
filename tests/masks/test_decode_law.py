"""A decoding step evaluates the same formula on a one-token query: on the filled slots it is a row of the whole."""

import dataclasses

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask import Tokens
from tests.masks.test_formula import formulas
from tests.toy import random_tokens

LENGTH = 5


def cache(tokens: Tokens, filled: int) -> Tokens:
    """The first `filled` slots of `tokens`, the others empty."""
    empty = jax.tree.map(np.asarray, Tokens.empty(tokens.shape[0], LENGTH))
    here = np.arange(LENGTH)[None] < filled
    return jax.tree.map(lambda x, y: np.where(here, x, y), tokens, empty)


@settings(max_examples=60, deadline=None)
@given(formulas(), st.integers(0, 2**32 - 1))
def test_one_token_against_the_cache_is_a_row_of_the_whole(mask, seed):
    tokens = random_tokens(np.random.default_rng(seed), 2, LENGTH)
    if tokens.prefix is None:
        tokens = dataclasses.replace(tokens, prefix=np.zeros(tokens.shape, bool))
    whole = np.asarray(mask(tokens, tokens))
    for slot in range(LENGTH):
        one = jax.tree.map(lambda x, slot=slot: x[:, slot : slot + 1], tokens)
        row = np.asarray(mask(one, cache(tokens, slot + 1)))[:, :, 0]
        np.testing.assert_array_equal(row[..., : slot + 1], whole[:, :, slot, : slot + 1])
        assert not row[..., slot + 1 :].any(), "an empty slot"
