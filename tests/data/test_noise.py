import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples, Row
from flaxmask.data.layouts import make_layout
from flaxmask.data.noise import MaskedTokens, uniform

NOISE = MaskedTokens(mask=100, rate=0.15)


def drawn(tokens: int, epoch: int = 0, noise: MaskedTokens = NOISE):
    """Ids, noisy ids and what is asked for, of examples of 50 tokens."""
    ids = np.random.default_rng(0).integers(4, 100, tokens)
    examples, places = np.divmod(np.arange(tokens), 50)
    return ids, *noise(ids, epoch, examples, places)


def test_shares_are_those_of_bert():
    ids, noisy, asked = drawn(400_000)
    close = lambda found, wanted: abs(found - wanted) < 0.005
    assert close(asked.mean(), 0.15)
    assert close((noisy[asked] == 100).mean(), 0.8)
    assert close((noisy[asked] == ids[asked]).mean(), 0.1 + 0.1 / 96), "those that stay, and those changed into itself"
    assert (noisy[~asked] == ids[~asked]).all()
    others = noisy[asked & (noisy != 100) & (noisy != ids)]
    counts = np.bincount(others, minlength=101)
    assert (counts[4:100] > 0).all()
    assert not counts[[0, 1, 2, 3, 100]].any(), "another token is never a mark or the mask"


def test_marks_are_never_asked_for():
    ids = np.tile(np.arange(8), 1000)
    noisy, asked = NOISE(ids, 0, np.arange(8000), np.zeros(8000, int))
    assert not asked[ids < 4].any()
    assert (noisy[ids < 4] == ids[ids < 4]).all()
    assert asked[ids >= 4].any()


def test_each_epoch_and_each_seed_asks_for_others():
    again = drawn(5000)[2]
    assert (drawn(5000)[2] == again).all()
    for other in (drawn(5000, epoch=1)[2], drawn(5000, noise=MaskedTokens(100, 0.15, seed=1))[2]):
        assert 0.2 < (other != again).mean() < 0.3, "0.255 where the two are independent"


def test_draws_are_uniform_and_do_not_depend_on_each_other():
    examples, places = np.divmod(np.arange(200_000), 400)
    draws = np.stack([uniform((0, 0, stream), examples, places) for stream in range(3)])
    assert ((draws >= 0) & (draws < 1)).all()
    for draw in draws:
        counts = np.histogram(draw, 50, (0, 1))[0]
        assert ((counts - 4000) ** 2 / 4000).sum() < 94, "chi-square with 49 degrees of freedom, 1 in 10,000"
    between = [*draws, np.roll(draws[0], 1), np.roll(draws[0], 400)]
    found = np.corrcoef(between) - np.eye(len(between))
    assert np.abs(found).max() < 0.012


def test_fixed_copies_come_back_in_turn():
    static = dataclasses.replace(NOISE, copies=3)
    seen = [drawn(2000, epoch, static)[2] for epoch in range(7)]
    for epoch in range(4):
        np.testing.assert_array_equal(seen[epoch], seen[epoch + 3])
    assert len({asked.tobytes() for asked in seen}) == 3


def test_words_are_hidden_whole():
    starts = bytes([1] * 4 + [i % 3 == 0 for i in range(4, 101)])
    ids, _, asked = drawn(300_000, noise=dataclasses.replace(NOISE, unit="word", starts=starts))
    places = np.arange(len(ids)) % 50
    follows = (np.frombuffer(starts, bool)[ids] == 0) & (places > 0)
    assert (asked[1:] == asked[:-1])[follows[1:]].all(), "a piece shares the fate of the one before it"
    assert (asked[1:] != asked[:-1])[~follows[1:]].any()
    assert abs(asked.mean() - 0.15) < 0.005


def test_spans_cover_as_much_and_run_on():
    _, _, asked = drawn(400_000, noise=dataclasses.replace(NOISE, unit="span"))
    inside = asked.reshape(-1, 50)
    assert abs(inside[:, 9:].mean() - 0.15) < 0.005, "of the first tokens less, since no span begins before them"
    again = inside[:, 10:][inside[:, 9:-1]].mean()
    assert 0.7 < again < 0.85, "the one behind a hidden token is hidden too: spans of 3.8 on average"
    assert not _longest_run(drawn(50, noise=dataclasses.replace(NOISE, unit="span", rate=1e-9))[2])


def _longest_run(asked):
    return max((len(run) for run in "".join("x" if a else " " for a in asked).split()), default=0)


@pytest.mark.parametrize("unit", ["token", "word", "span"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_a_token_s_noise_is_the_same_in_every_layout(unit, seed, epoch):
    starts = bytes(i % 3 == 0 for i in range(101))
    noise = dataclasses.replace(NOISE, unit=unit, starts=starts)
    rng = np.random.default_rng(seed)
    rows = [rng.integers(4, 100, rng.integers(1, 20)).tolist() for _ in range(30)]
    data = Examples.of_rows((Row(ids, None, ids) for ids in rows), (101, 101))
    seen = []
    for layout in (
        DataConfig(layout="static"),
        DataConfig(layout="bucketed", batch_examples=8),
        DataConfig(layout="packed", batch_examples=8),
        DataConfig(layout="packed", batch_examples=8, restart_positions=False),
        # A word that a row's end cuts counts as two.
        *([DataConfig(layout="packed", packer="concatenate", pack_length=16)] if unit != "word" else []),
    ):
        placements = make_layout(layout, data.lengths).place(rng.permutation(30), data.lengths)
        batches = [build_batch(data, p._replace(epoch=epoch), noise) for p in placements]
        parts = [(b.examples[b.source.real], b.source.ids[b.source.real], b.weights[b.source.real]) for b in batches]
        example, ids, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        seen.append(sorted(zip(example.tolist(), ids.tolist(), weights.tolist(), strict=True)))
    assert all(other == seen[0] for other in seen)
    assert len(seen[0]) == sum(map(len, rows))
