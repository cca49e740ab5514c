"""Beam search against every sequence there is."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.decoding.beam import Beam
from flaxmask.decoding.greedy import Greedy
from flaxmask.decoding.steps import best_of, decode

VOCABULARY, EOS, BOS, LENGTH = 5, 1, 2, 3
IDS = (1, 3, 4)
"""What may be written: the end mark and two words; pad (0) and the opening (2) never are."""


@dataclasses.dataclass
class Table:
    """A model of a table: the logits after each beginning. What is kept is the number of the beginning."""

    logits: jax.Array

    def step(self, cache, tokens):
        place = cache["place"] * VOCABULARY + tokens.ids
        rows = jnp.arange(len(place))[:, None]
        return self.logits[rows, place % self.logits.shape[1]], Kept(place=place)


@jax.tree_util.register_pytree_node_class
class Kept(dict):
    """A cache of one array."""

    def tree_flatten(self):
        return (self["place"],), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(place=leaves[0])

    def fork(self, hypotheses):
        return Kept(place=jnp.repeat(self["place"], hypotheses, axis=1))

    def take(self, parents):
        return Kept(place=jnp.take_along_axis(self["place"], parents, axis=1))

    def keep(self, sources, hypotheses):
        return Kept(place=self["place"][sources])

    def grow(self, slots):
        return self


def table(seed, batch=3):
    """Logits that depend on all that is written, for each of some sources."""
    logits = np.random.default_rng(seed).normal(0, 2, (batch, VOCABULARY ** (LENGTH + 1), VOCABULARY))
    logits[..., [0, BOS]] = -np.inf
    return jnp.asarray(logits, jnp.float32)


def empty(batch):
    return Kept(place=jnp.zeros((batch, 1), jnp.int32))


@functools.partial(jax.jit, static_argnums=1, static_argnames=("length_penalty", "early_stopping"))
def search(logits, beams, **how):
    return decode(Beam(beams, LENGTH, BOS, EOS, **how), Table(logits).step, empty(len(logits)), len(logits))


def everything(logits, length_penalty):
    """All that ends within the length, with scores."""
    logits = np.asarray(jax.nn.log_softmax(logits))
    found = {}
    for count in range(1, LENGTH + 1):
        for words in itertools.product([i for i in IDS if i != EOS], repeat=count - 1):
            ids, place, total = (*words, EOS), 0, 0.0
            for last, new in zip((BOS, *ids), ids, strict=False):
                place = place * VOCABULARY + last
                total += logits[place % len(logits), new]
            found[ids + (0,) * (LENGTH - count)] = total / count**length_penalty
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0]), st.booleans())
def test_a_beam_as_wide_as_the_tree_finds_the_best_sequences(seed, penalty, early):
    logits, beams = table(seed), 12
    ids, scores = search(logits, beams, length_penalty=penalty, early_stopping=early)
    for b in range(len(logits)):
        wanted = everything(logits[b], penalty)
        rows = [tuple(row) for row in ids[b].tolist()]
        found = {row: score for row, score in zip(rows, scores[b].tolist(), strict=True) if EOS in row}
        assert len(found) == len(wanted) == 7
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True), "best first"
        assert rows[: len(found)] == list(found), "those that ended come first"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_one_beam_is_greedy(seed):
    logits = table(seed)
    wanted = decode(Greedy(LENGTH, BOS, EOS), Table(logits).step, empty(3), 3)
    np.testing.assert_array_equal(search(logits, 1).ids[:, 0], wanted)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_beam_as_wide_as_the_tree_is_no_worse_than_any_other(seed):
    """Of sums of log-probabilities, of which the best sequence is found by it for certain."""
    logits = table(seed)
    best = search(logits, 12, length_penalty=0.0, early_stopping=False).scores[:, 0]
    for beams in (1, 3):
        found = search(logits, beams, length_penalty=0.0, early_stopping=False)
        ended = (found.ids[:, 0] == EOS).any(axis=-1)
        assert (np.where(ended, found.scores[:, 0], -np.inf) <= best + 1e-5).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_other_sources_in_the_batch_change_nothing(seed, early):
    logits = table(seed)
    together = search(logits, 2, early_stopping=early)
    for b in range(3):
        alone = search(logits[b : b + 1], 2, early_stopping=early)
        np.testing.assert_array_equal(alone.ids[0], together.ids[b])
        np.testing.assert_allclose(alone.scores[0], together.scores[b], rtol=1e-6)


@pytest.mark.parametrize("size", [3, 127, 1000, 10_000])
def test_the_likeliest_of_a_long_row(size, rng):
    x = jnp.asarray(rng.normal(size=(2, 3, size)), jnp.float32).at[0, 0, 0].set(-jnp.inf)
    count = min(10, size)
    values, where = jax.jit(best_of, static_argnums=1)(x, count)
    wanted, places = jax.lax.top_k(jax.nn.log_softmax(x), count)
    np.testing.assert_allclose(values, wanted, rtol=1e-5)
    np.testing.assert_array_equal(where, places)
