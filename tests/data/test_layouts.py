import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.layouts import make_layout
from flaxmask.data.layouts.shapes import choose_shapes, smallest_fit
from flaxmask.data.loader import Plan, batches
from flaxmask.data.vocabulary import BOS
from tests import toy

drawn = given(
    count=st.integers(1, 60),
    seed=st.integers(0, 999),
    batch=st.integers(1, 20),
    devices=st.integers(1, 3),
    layout=st.sampled_from(toy.LAYOUTS),
)


@settings(max_examples=80, deadline=None)
@drawn
def test_every_example_is_placed_once_and_fits(count, seed, batch, devices, layout):
    data = toy.examples(count, seed)
    chosen = make_layout(DataConfig(layout=layout, batch_examples=batch, window=2), data.lengths, devices)
    order = np.random.default_rng(seed).permutation(count)
    placements = chosen.place(order, data.lengths)
    assert sorted(i for p in placements for i in p.pieces.examples) == list(range(count))
    for placement in placements:
        rows, shape = placement.pieces.by_row(), placement.shape
        assert shape.rows % devices == 0
        assert len(rows) <= shape.rows
        for row in rows:
            assert (data.lengths[row].sum(axis=0) <= (shape.source, shape.target)).all()


@settings(max_examples=60, deadline=None)
@drawn
def test_a_batch_says_what_the_examples_say(count, seed, batch, devices, layout):
    data = toy.examples(count, seed)
    chosen = make_layout(DataConfig(layout=layout, batch_examples=batch), data.lengths, devices)
    for placement in chosen.place(np.arange(count), data.lengths):
        built = build_batch(data, placement)
        built.source.check()
        built.target.check()
        np.testing.assert_array_equal(built.weights, built.target.real)
        np.testing.assert_array_equal(built.examples >= 0, built.target.real)
        for row, ids in enumerate(placement.pieces.by_row()):
            for segment, example in enumerate(ids, start=1):
                source = built.source.segments[row] == segment
                target = built.target.segments[row] == segment
                np.testing.assert_array_equal(built.source.ids[row, source], data.source[example])
                np.testing.assert_array_equal(built.labels[row, target], data.labels[example])
                np.testing.assert_array_equal(built.target.ids[row, target], [BOS, *data.labels[example][:-1]])
                assert (built.examples[row, target] == example).all()
        empty = slice(placement.pieces.count, None)
        assert not built.source.ids[empty].any()
        assert not built.weights[empty].any()


def test_an_update_has_the_same_examples_in_static_dynamic_and_packed():
    data = toy.examples(100)
    plans = [
        Plan(make_layout(DataConfig(layout=layout, batch_examples=16), data.lengths), data.lengths, 3, 2)
        for layout in ("static", "dynamic", "packed")
    ]
    assert len({len(plan) for plan in plans}) == 1
    for update in zip(*plans, strict=True):
        first, *others = (sorted(i for i in placement.pieces.examples) for placement in update)
        assert all(other == first for other in others)


def test_an_epoch_has_the_same_examples_in_bucketed():
    data = toy.examples(100)
    config = DataConfig(layout="bucketed", batch_examples=16, shapes=3)
    plan = Plan(make_layout(config, data.lengths), data.lengths, 3, 2)
    epochs = [plan.epoch(e) for e in (0, 1)]
    for epoch in epochs:
        assert sorted(i for placement in epoch for i in placement.pieces.examples) == list(range(100))
    first, second = ([p.pieces.examples.tolist() for p in epoch] for epoch in epochs)
    assert first != second
    assert abs(len(plan.epoch(0)) - 100 / 16) <= 4, "as many updates as the others, but for the last of each shape"


def test_static_is_the_longest_rounded_up_to_eight_or_the_length_given():
    lengths = np.array([[3, 2], [9, 17]])
    assert make_layout(DataConfig(layout="static"), lengths).shape[:3] == (128, 16, 24)
    assert make_layout(DataConfig(layout="static", length=29), lengths).shape[:3] == (128, 29, 29)


def test_few_shapes():
    data = toy.examples(600, longest=30)
    for layout in toy.LAYOUTS:
        placements = toy.placements(data, layout, 32, shapes=5)
        assert len({p.shape for p in placements}) <= 5


def test_more_shapes_waste_less():
    lengths = toy.examples(500, longest=30).lengths
    wasted = []
    for most in (1, 2, 4, 8):
        sides = choose_shapes(lengths, most)
        assert len(sides) == most
        slots = np.array(sides)[smallest_fit(lengths, sides)].sum()
        wasted.append(slots - lengths.sum())
    assert wasted == sorted(wasted, reverse=True)
    assert wasted[-1] < wasted[0] / 2


def test_an_example_that_fits_nowhere_is_named():
    with pytest.raises(ValueError, match=r"example 1: lengths \[9, 2\] fit into none"):
        smallest_fit(np.array([[3, 3], [9, 2]]), [(4, 4), (8, 8)])


def test_the_iterator_resumes_in_the_middle_of_an_epoch():
    data = toy.examples(40)
    plan = Plan(make_layout(DataConfig(layout="packed", batch_examples=8), data.lengths), data.lengths, 0, 3)
    whole = batches(data, plan)
    for _ in range(7):
        next(whole)
    state = whole.get_state()
    wanted = [batch.examples for batch in whole]
    again = batches(data, plan)
    again.set_state(state)
    for left, right in zip(wanted, (batch.examples for batch in again), strict=True):
        np.testing.assert_array_equal(left, right)
    assert len(wanted) == len(plan) - 7


def test_a_pack_shorter_than_the_longest_example_is_refused():
    with pytest.raises(ValueError, match=r"data\.pack_length=8: the longest example takes 16 slots"):
        make_layout(DataConfig(layout="packed", pack_length=8, length=16), toy.examples(5).lengths)


def test_rows_may_be_padded_on_the_left():
    """The same tokens at the same positions, at the end of each row."""
    data = toy.examples(6, longest=7)
    for right, left in zip(
        toy.batches(data, "static", 4), toy.batches(data, "static", 4, padding_side="left"), strict=True
    ):
        for name in ("source", "target"):
            one, other = getattr(right, name), getattr(left, name)
            assert other.layout == "any"
            for row in range(one.shape[0]):
                count = one.real[row].sum()
                slots = other.shape[1] - np.arange(count, 0, -1)
                assert np.flatnonzero(other.real[row]).tolist() == slots.tolist()
                for part in ("ids", "positions", "segments"):
                    moved, there = getattr(other, part)[row, slots], getattr(one, part)[row, :count]
                    np.testing.assert_array_equal(moved, there)
        np.testing.assert_array_equal(left.labels[left.weights > 0], right.labels[right.weights > 0])
    with pytest.raises(ValueError, match=r"data\.padding_side=left is for layouts of one example a row"):
        DataConfig(layout="packed", padding_side="left")
