import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.data import layouts, packing
from flaxmask.data.config import DataConfig, PackingConfig
from flaxmask.data.layouts import by_histogram
from flaxmask.data.tasks import load_task
from flaxmask.names import Refused
from flaxmask.plans import pack_lengths

ONE_SIDED = ("best_fit", "first_fit", "online_best_fit", "online_first_fit", "spfhp", "lpfhp", "nnlshp")
lists = st.lists(st.integers(1, 12), min_size=1, max_size=60)


def sides(lengths, other=None):
    return np.stack([lengths, np.zeros_like(lengths) if other is None else other], axis=1)


def pack(ids, lengths, capacity, packer, **how):
    """One group."""
    [pieces] = layouts.pack([ids], lengths, capacity, packer, **how)
    return pieces


def used(pieces, lengths):
    """Slots taken in each row."""
    return np.bincount(pieces.rows, weights=lengths[pieces.examples], minlength=pieces.count)


@settings(max_examples=150, deadline=None)
@given(lengths=lists, packer=st.sampled_from(ONE_SIDED), depth=st.sampled_from([None, 1, 2, 3]), seed=st.integers(0, 9))
def test_everything_is_packed_once_and_no_row_overflows(lengths, packer, depth, seed):
    lengths = np.array(lengths)
    ids = np.random.default_rng(seed).permutation(len(lengths))
    pieces = pack(ids, sides(lengths), (12, 0), packer, depth=depth, buffer=3)
    assert sorted(pieces.examples) == list(range(len(lengths)))
    assert used(pieces, lengths).max() <= 12
    assert (np.diff(pieces.rows) >= 0).all()
    assert set(pieces.rows) == set(range(pieces.count)), "rows are numbered without a gap"
    most = depth or (3 if packer == "nnlshp" else 99)
    assert max(map(len, pieces.by_row())) <= most


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 9)), min_size=1), packer=st.sampled_from(ONE_SIDED)
)
def test_both_sides_of_a_row_hold(lengths, packer):
    lengths = np.array(lengths)
    pieces = pack(np.arange(len(lengths)), lengths, (12, 9), packer)
    assert sorted(pieces.examples) == list(range(len(lengths)))
    for row in pieces.by_row():
        assert (lengths[row].sum(axis=0) <= (12, 9)).all()


def by_hand(lengths, capacity, fit, depth, buffer=1000):
    """The rows of a packer that looks at every open row."""
    rows, left = [], []
    for example, length in enumerate(lengths):
        room = lambda row: [c - sum(lengths[i][k] for i in row) for k, c in enumerate(capacity)]
        waste = lambda row, room=room: sum(r / c for r, c in zip(room(row), capacity, strict=True))
        fits = [
            row
            for row in rows
            if len(row) < depth and all(r >= n for r, n in zip(room(row), length, strict=True)) and min(room(row)) > 0
        ]
        if not fits:
            if len([row for row in rows if len(row) < depth and min(room(row)) > 0]) == buffer:
                fullest = min((row for row in rows if len(row) < depth and min(room(row)) > 0), key=waste)
                rows.remove(fullest)
                left.append(fullest)
            fits = [[]]
            rows.append(fits[0])
        (fits[0] if fit == "first" else min(fits, key=waste)).append(example)
    return sorted(left + rows)


both_sides = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 16)), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(both_sides, st.sampled_from(["first", "best"]), st.sampled_from([2, 3, 99]))
def test_decreasing_is_what_one_does_by_hand(lengths, fit, depth):
    lengths = sorted(lengths, key=lambda pair: -max(pair[0] / 8, pair[1] / 16))
    [pieces] = packing.decreasing([np.arange(len(lengths))], np.array(lengths), (8, 16), fit, depth)
    assert sorted(pieces.by_row()) == by_hand(lengths, (8, 16), fit, depth)


@settings(max_examples=150, deadline=None)
@given(both_sides, st.sampled_from(["first", "best"]), st.sampled_from([2, 3, 99]), st.integers(1, 6))
def test_online_is_what_one_does_by_hand(lengths, fit, depth, buffer):
    found = packing.online(range(len(lengths)), np.array(lengths), (8, 16), fit, buffer, depth)
    assert sorted(found) == by_hand(lengths, (8, 16), fit, depth, buffer)


@settings(max_examples=100, deadline=None)
@given(lists, st.sampled_from([2, 3, 99]))
def test_longest_pack_first_is_best_fit_decreasing(lengths, depth):
    lengths = sorted(lengths, reverse=True)
    rows = by_hand([(length,) for length in lengths], (12,), "best", depth)
    assert packing.lpfhp(np.bincount(lengths)[1:], 12, depth).count == len(rows)
    [stepped] = packing.decreasing([np.arange(len(lengths))], np.array(lengths)[:, None], (12,), "best", depth)
    assert stepped.count == len(rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(both_sides, min_size=1, max_size=5), st.sampled_from(["best_fit", "first_fit"]))
def test_groups_in_step_are_packed_as_each_alone(groups, packer):
    lengths = np.array([length for group in groups for length in group])
    ids = np.split(np.arange(len(lengths)), np.cumsum([len(group) for group in groups])[:-1])
    together = layouts.pack(ids, lengths, (8, 16), packer, depth=3)
    alone = [pack(group, lengths, (8, 16), packer, depth=3) for group in ids]
    assert [pieces.by_row() for pieces in together] == [pieces.by_row() for pieces in alone]


@settings(max_examples=100, deadline=None)
@given(lists, st.integers(1, 5))
def test_an_online_packer_holds_few_rows_open(lengths, buffer):
    asked = []

    def stream():
        for example in range(len(lengths)):
            asked.append(example)
            yield example

    left = 0
    for row in packing.online(stream(), np.array(lengths)[:, None], (12,), "best", buffer):
        left += len(row)
        held = len(asked) - left
        assert held <= buffer * 12, "sequences of at least one token each in so many rows"
    assert left == len(lengths)


@settings(max_examples=100, deadline=None)
@given(lists, st.integers(1, 15))
def test_concatenation_loses_no_slot_but_in_the_last_row(lengths, capacity):
    lengths = np.array(lengths)
    ids = np.random.default_rng(0).permutation(len(lengths))
    pieces = pack(ids, sides(lengths), (capacity, 0), "concatenate")
    spans = pieces.spans
    filled = np.bincount(pieces.rows, weights=spans[:, 1] - spans[:, 0])
    assert (filled[:-1] == capacity).all()
    assert filled.sum() == lengths.sum()
    tokens = [(e, t) for e, (a, b) in zip(pieces.examples, spans, strict=True) for t in range(a, b)]
    assert tokens == [(e, t) for e in ids for t in range(lengths[e])], "in order, each once"


@settings(max_examples=60, deadline=None)
@given(lengths=lists, seed=st.integers(0, 9))
def test_rows_can_be_taken_in_any_order(lengths, seed):
    lengths = np.array(lengths)
    pieces = pack(np.arange(len(lengths)), sides(lengths), (12, 0), "concatenate")
    order = np.random.default_rng(seed).permutation(pieces.count)[: seed + 1]
    taken = pieces.take(order)
    rows = pieces.by_row()
    assert taken.by_row() == [rows[i] for i in order]
    spans = [pieces.spans[pieces.rows == i].tolist() for i in order]
    assert [taken.spans[taken.rows == i].tolist() for i in range(len(order))] == spans


@settings(max_examples=40, deadline=None)
@given(lists)
def test_least_squares_uses_every_sequence_once(lengths):
    packed = packing.nnlshp(np.bincount(lengths)[1:], 12)
    assert sorted(length for way, count in packed.rows.items() for length in way * count) == sorted(lengths)
    assert all(sum(way) <= 12 and len(way) <= 3 for way in packed.rows)


def test_least_squares_is_exact_where_rows_can_be_filled():
    counts = np.zeros(12, int)
    counts[[6, 4]] = 30  # lengths 7 and 5
    assert packing.nnlshp(counts, 12).rows == {(7, 5): 30}


def test_a_packing_of_other_lengths_is_refused():
    packed = packing.lpfhp(np.bincount([3, 4])[1:], 12)
    with pytest.raises(ValueError, match="the packing holds 2 sequences of other lengths than the 2 given"):
        packing.assign(packed, np.arange(2), np.array([3, 5]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: packing.lpfhp(np.bincount([13])[1:], 12), "a sequence of 13 tokens, but a row holds 12"),
        (lambda: packing.spfhp(np.bincount([13])[1:], 12), "a sequence of 13 tokens, but a row holds 12"),
        (lambda: packing.nnlshp(np.bincount([13])[1:], 12), "a sequence of 13 tokens, but a row holds 12"),
        (lambda: list(packing.online([0], np.array([[13]]), (12,))), r"example 0: lengths \[13\], but a row holds"),
        (lambda: pack(np.arange(1), np.array([[13, 0]]), (12, 0), "first_fit"), r"example 0: lengths \[13, 0\], but"),
        (lambda: pack(np.arange(1), np.array([[3, 3]]), (12, 12), "concatenate"), "tasks of one side only"),
        (lambda: by_histogram(np.array([1]), 12, "nnlshp", 4), "nnlshp of depth 4.* at most 3"),
        (lambda: by_histogram(np.array([1]), 12, "best_fit", None), "best_fit packs sequences"),
    ],
)
def test_what_cannot_be_packed_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_million_lengths_in_two_seconds(rng):
    lengths = np.minimum(1 + rng.geometric(1 / 40, 1_000_000), 512)
    ids = rng.permutation(len(lengths))
    start = time.perf_counter()
    pieces = pack(ids, sides(lengths), (512, 0), "lpfhp")
    seconds = time.perf_counter() - start
    assert seconds < 2.0
    assert used(pieces, lengths).max() <= 512
    assert (np.sort(pieces.examples) == np.arange(len(lengths))).all()
    assert lengths.sum() / (pieces.count * 512) > 0.999


def test_refusals_are_one_line():
    with pytest.raises(Refused) as error:
        pack(np.arange(1), np.array([[3, 3]]), (12, 12), "concatenate")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["depth", "capacity", "examples"])
def test_a_packing_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        PackingConfig(**{name: 0})


def test_a_row_too_short_is_refused_and_the_limit_is_what_no_packer_passes(monkeypatch):
    monkeypatch.setattr("flaxmask.plans.length_histograms", lambda: {"squad_1_1_384": np.array([0, 3, 1])})
    with pytest.raises(Refused, match=r"packing\.capacity=2: the longest sequence takes 3 slots"):
        pack_lengths(PackingConfig("squad", capacity=2), DataConfig(), load_task)
    found = pack_lengths(PackingConfig("squad", capacity=5), DataConfig(), load_task)
    assert found["packing_rows"] == 2
    assert found["packing_factor"] == 2.0
    assert found["packing_limit"] == pytest.approx(4 * 5 / 9), "9 tokens fill 1.8 rows of 5"
    assert found["packing_efficiency"] == pytest.approx(90.0)
