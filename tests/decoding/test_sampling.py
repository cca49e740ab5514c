"""What is drawn is what is declared."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.decoding.greedy import Greedy
from flaxmask.decoding.sampling import Sampler, sample
from flaxmask.decoding.steps import decode
from flaxmask.names import Refused
from tests.decoding.test_beam import BOS, EOS, LENGTH, Table, empty, table


def declared(logits, sampler, seen):
    """The distribution in NumPy, token by token as the definitions have it."""
    logits = np.where(
        seen, np.where(logits > 0, logits / sampler.repetition_penalty, logits * sampler.repetition_penalty), logits
    )
    if sampler.temperature == 0:
        return np.eye(len(logits))[np.argmax(logits)]
    logits = logits / sampler.temperature
    left = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    left = [i for i in left if np.isfinite(logits[i])]
    if sampler.top_k:
        left = left[: sampler.top_k]
    share = lambda ids: np.exp(logits[ids] - logits[left[0]]) / np.exp(logits[ids] - logits[left[0]]).sum()
    if sampler.top_p < 1:
        left = left[: int(np.sum(np.cumsum(share(left)) - share(left) < sampler.top_p))]
    left = [i for i in left if np.exp(logits[i] - logits[left[0]]) >= sampler.min_p]
    found = np.zeros(len(logits))
    found[left] = share(left)
    return found


SAMPLERS = st.builds(
    Sampler,
    st.sampled_from([1.0, 1.3]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([0, 1, 3, 50]),
    st.sampled_from([0.3, 0.9, 1.0]),
    st.sampled_from([0.0, 0.05, 0.4]),
)


@settings(max_examples=100, deadline=None)
@given(SAMPLERS, st.integers(0, 2**32 - 1))
def test_the_distribution_is_the_declared_one(sampler, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, 11).astype(np.float32)
    logits[0] = -np.inf
    seen = rng.random(11) < 0.3
    with jax.disable_jit():
        found = jax.nn.softmax(sampler.narrow(jnp.asarray(logits)[None, None], jnp.asarray(seen)[None, None]))[0, 0]
    np.testing.assert_allclose(found, declared(logits, sampler, seen), atol=1e-5)


def sequences(logits, sampler):
    """The probability of each sequence, by the chain rule."""
    found = {}

    def go(ids, place, probability):
        if len(ids) == LENGTH or EOS in ids:
            found[ids + (0,) * (LENGTH - len(ids))] = probability
            return
        row = np.asarray(logits[place % len(logits)])
        shares = declared(row, sampler, np.isin(np.arange(len(row)), ids))
        for new in np.flatnonzero(shares):
            go((*ids, int(new)), (place * len(row) + int(new)), probability * shares[new])

    go((), BOS, 1.0)
    return found


@functools.partial(jax.jit, static_argnums=(2, 3))
def draw(logits, keys, sampler, samples):
    cache = empty(len(logits))
    return sample(Table(logits).step, cache, keys, LENGTH, sampler, samples=samples, bos=BOS, eos=EOS)


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(),
        Sampler(temperature=0.7, top_k=3, top_p=0.95),
        Sampler(temperature=1.5, top_k=2, min_p=0.1, repetition_penalty=1.3),
    ],
    ids=str,
)
def test_twenty_thousand_sequences_are_distributed_as_declared(sampler):
    """Chi-square over whole sequences: temperature, top-k and top-p together, and the end among them."""
    chisquare = pytest.importorskip("scipy.stats").chisquare
    logits, count = table(3, batch=1) * 0.5, 20_000
    wanted = sequences(np.asarray(logits[0]), sampler)
    assert sum(wanted.values()) == pytest.approx(1.0)
    drawn = draw(logits, jax.random.split(jax.random.key(0), 1), sampler, count)[0]
    rows, counts = np.unique(drawn, axis=0, return_counts=True)
    found = dict(zip(map(tuple, rows.tolist()), counts.tolist(), strict=True))
    assert set(found) <= set(wanted), "nothing is drawn that is left out"
    often = [ids for ids, share in wanted.items() if share * count >= 5]
    assert len(often) >= 4
    f, w = ([x.get(ids, 0) for ids in often] for x in (found, {ids: s * count for ids, s in wanted.items()}))
    f.append(count - sum(f))
    w.append(count - sum(w))
    if w[-1] < 5:  # what is rare is counted together, or with the last
        f[-2:], w[-2:] = [sum(f[-2:])], [sum(w[-2:])]
    assert chisquare(f, np.array(w) * (sum(f) / sum(w))).pvalue > 1e-3


def test_no_temperature_is_greedy():
    logits = table(1)
    keys = jax.random.split(jax.random.key(0), 3)
    wanted = decode(Greedy(LENGTH, BOS, EOS), Table(logits).step, empty(3), 3)
    np.testing.assert_array_equal(draw(logits, keys, Sampler(temperature=0.0), 1)[:, 0], wanted)


def test_a_source_s_samples_are_its_own():
    """The same alone, in another place, and on four devices."""
    logits, keys = table(2, batch=4), jax.random.split(jax.random.key(7), 4)
    together = np.asarray(draw(logits, keys, Sampler(), 3))
    assert len(np.unique(together.reshape(-1, LENGTH), axis=0)) > 4
    for i in (0, 3):
        np.testing.assert_array_equal(draw(logits[i : i + 1], keys[i : i + 1], Sampler(), 3)[0], together[i])
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    shard = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = draw(jax.device_put(logits, shard), jax.device_put(keys, shard), Sampler(), 3)
    assert len(spread.sharding.device_set) == 4
    np.testing.assert_array_equal(spread, together)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"temperature": -1.0}, "temperature: expected at least 0, got -1.0"),
        ({"top_k": -1}, "top_k: expected at least 0, got -1"),
        ({"top_p": 0.0}, "top_p: expected more than 0 and at most 1, got 0.0"),
        ({"min_p": 2.0}, "min_p: expected between 0 and 1, got 2.0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: expected more than 0, got 0.0"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(settings_, message):
    with pytest.raises(Refused, match=message):
        Sampler(**settings_).check()
