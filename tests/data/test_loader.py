import dataclasses
import hashlib
import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask.data.batches import build_batch
from flaxmask.data.config import DataConfig
from flaxmask.data.examples import Examples, Row
from flaxmask.data.layouts import make_layout
from flaxmask.data.loader import Plan, batches
from flaxmask.data.noise import MaskedTokens
from flaxmask.data.sources import multi30k
from flaxmask.data.tasks import load_task
from flaxmask.names import Refused
from flaxmask.training.loop import counted_in
from tests import toy
from tests.data.sources.published import need

LAYOUTS = {
    "static": {},
    "dynamic": {},
    "bucketed": {"window": 2},
    "packed": {},
    "dynamic, sorted by source": {"sort": "source"},
    "dynamic, sorted by target": {"sort": "target"},
    "dynamic, sorted by both": {"sort": "source_target"},
    "dynamic, tokens": {"batch_tokens": 160},
    "dynamic, tokens, sorted": {"batch_tokens": 160, "sort": "target_source"},
    "packed, first fit": {"packer": "first_fit"},
    "packed, pooled": {"packer": "lpfhp", "pack_pool": 50},
    "packed, all together": {"pack_pool": 1000},
    "packed, pooled, depth 2": {"packer": "spfhp", "pack_pool": 1000, "pack_depth": 2},
    "packed, least squares": {"packer": "nnlshp", "pack_pool": 40},
    "packed, online": {"packer": "online_best_fit", "pack_pool": 1000, "pack_buffer": 4},
    "packed, positions run on": {"restart_positions": False},
}
ONE_SIDED = {
    "static": {},
    "concatenated": {"packer": "concatenate", "pack_pool": 1000, "pack_length": 16},
    "concatenated an update": {"packer": "concatenate", "pack_length": 16},
}


def config(name: str, **more) -> DataConfig:
    """One of the layouts above, for small batches."""
    settings = {**LAYOUTS, **ONE_SIDED}[name]
    layout = name.split(",")[0] if name.split(",")[0] in toy.LAYOUTS else "packed"
    return DataConfig(layout=layout, batch_examples=16, shapes=3, **settings, **more)


def texts(count: int, seed: int = 0) -> Examples:
    """Examples of one side, 2 to 20 tokens."""
    rng = np.random.default_rng(seed)
    rows = [[*rng.integers(5, 60, rng.integers(1, 20)).tolist(), 2] for _ in range(count)]
    return Examples.of_rows((Row(ids, None, ids) for ids in rows), (61, 61))


def plan_of(name: str, data: Examples, seed: int = 3, epochs: int = 2, devices: int = 1) -> Plan:
    return Plan(make_layout(config(name), data.lengths, devices), data.lengths, seed, epochs)


def digest(stream) -> str:
    """A hash of every array of every batch."""
    seen = hashlib.sha256()
    for batch in stream:
        for tokens in (batch.source, batch.target):
            for array in () if tokens is None else (tokens.ids, tokens.segments, tokens.positions):
                seen.update(np.ascontiguousarray(array).tobytes())
        seen.update(batch.weights.tobytes() + batch.examples.tobytes())
    return seen.hexdigest()


def tokens_of(batch, side: str) -> list[tuple[int, int]]:
    """Example and id of every token that a batch holds."""
    tokens = getattr(batch, side)
    owner = batch.examples if side == "target" or batch.target is None else None
    assert owner is not None
    return list(zip(owner[tokens.real].tolist(), tokens.ids[tokens.real].tolist(), strict=True))


@pytest.mark.parametrize("hosts", [1, 2, 3, 8])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_example_of_an_epoch_appears_once_over_all_hosts(name, hosts):
    data = toy.examples(110)
    plan = plan_of(name, data, devices=hosts)
    streams = [list(batches(data, plan, host=host, hosts=hosts)) for host in range(hosts)]
    assert len({len(stream) for stream in streams}) == 1
    ends = np.cumsum([len(plan.epoch(epoch)) for epoch in range(2)])
    assert len(streams[0]) == ends[-1]
    wanted = sorted((e, t) for e in range(110) for t in data.target[e].tolist())
    for epoch in (slice(0, ends[0]), slice(ends[0], ends[1])):
        found = [pair for stream in streams for batch in stream[epoch] for pair in tokens_of(batch, "target")]
        assert sorted(found) == wanted
        sources = [id_ for stream in streams for batch in stream[epoch] for id_ in batch.source.ids[batch.source.real]]
        assert sorted(sources) == sorted(data.source.values)
    shapes = [[(b.source.shape, b.target.shape) for b in stream] for stream in streams]
    assert all(shape == shapes[0] for shape in shapes), "all shards of a batch have one length"


@pytest.mark.parametrize("name", ONE_SIDED)
def test_every_token_of_a_text_appears_once_wherever_it_is_cut(name):
    data = texts(90)
    plan = plan_of(name, data)
    for epoch in (0, 1):
        start = 0 if epoch == 0 else len(plan.epoch(0))
        stream = list(batches(data, plan))[start : start + len(plan.epoch(epoch))]
        found = [pair for batch in stream for pair in tokens_of(batch, "source")]
        assert sorted(found) == sorted((e, t) for e in range(90) for t in data.source[e].tolist())
        for batch in stream:
            batch.source.check()


@pytest.mark.parametrize("name", [*LAYOUTS, *ONE_SIDED])
def test_resuming_at_20_places_gives_what_would_have_come(name):
    """The state goes through JSON, as a checkpoint writes it; the iterator that goes on is a new one."""
    data = texts(100) if name in ONE_SIDED else toy.examples(100)
    noise = MaskedTokens(60, 0.3) if name in ONE_SIDED else None
    plan = plan_of(name, data, epochs=3)
    whole, saved, seen = batches(data, plan, noise), {}, []
    for at in range(len(plan)):
        saved[at] = json.loads(json.dumps(whole.get_state()))
        seen.append(next(whole))
    assert len(json.dumps(saved[0])) < 200, "the state is small"
    for at in np.random.default_rng(0).choice(len(plan), 20):
        again = batches(data, plan_of(name, data, epochs=3), noise)
        again.set_state(saved[at])
        assert digest(again) == digest(seen[at:])


@settings(max_examples=25, deadline=None)
@given(before=st.sampled_from([1, 2, 3]), after=st.sampled_from([1, 2, 3]), at=st.integers(0, 11))
def test_resuming_with_other_hosts_goes_on_in_the_same_stream(before, after, at):
    data = toy.examples(100)
    plan = plan_of("packed", data, devices=6)
    first = [batches(data, plan, host=host, hosts=before) for host in range(before)]
    for stream in first:
        for _ in range(at):
            next(stream)
    second = [batches(data, plan, host=host, hosts=after) for host in range(after)]
    for stream in second:
        stream.set_state(first[0].get_state())
    whole = list(batches(data, plan))[at:]
    for parts, batch in zip(zip(*second, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate([part.target.ids for part in parts]), batch.target.ids)
        np.testing.assert_array_equal(np.concatenate([part.source.segments for part in parts]), batch.source.segments)


def test_hosts_that_cannot_share_a_batch_are_refused_by_both_numbers():
    data = toy.examples(30)
    with pytest.raises(Refused, match="3 hosts cannot share the 16 rows of a batch"):
        batches(data, plan_of("static", data), hosts=3)


def test_batches_are_built_beside_the_main_thread(monkeypatch):
    data, threads = toy.examples(60), set()
    build = lambda *arguments: threads.add(threading.current_thread()) or build_batch(*arguments)
    monkeypatch.setattr("flaxmask.data.loader.build_batch", build)
    assert len(list(batches(data, plan_of("packed", data)))) == 8
    assert threading.main_thread() not in threads
    assert threads


def test_hosts_that_cannot_share_a_later_epoch_are_refused_too():
    """Packed rows are few more or fewer in every epoch; none is left out where they stop being a multiple."""
    data = toy.examples(60)
    layout = make_layout(DataConfig(layout="packed", batch_examples=20), data.lengths)
    plans = [Plan(layout, data.lengths, seed, 4) for seed in range(60)]
    odd = lambda plan, epoch: any(placement.shape.rows % 2 for placement in plan.epoch(epoch))
    plan = next(plan for plan in plans if not odd(plan, 0) and any(odd(plan, epoch) for epoch in (1, 2, 3)))
    stream = batches(data, plan, host=1, hosts=2)
    with pytest.raises(Refused, match=r"2 hosts cannot share the \d+ rows of a batch"):
        list(stream)


def test_each_epoch_s_noise_is_its_own():
    """Through the plan and the loader: the examples are the same, what is asked for is not."""
    data = texts(60)
    plan = plan_of("static", data)
    stream = list(batches(data, plan, MaskedTokens(60, 0.3)))
    asked = []
    for epoch in (stream[: len(plan.epoch(0))], stream[len(plan.epoch(0)) :]):
        marked = [np.stack([b.examples, b.source.positions], -1)[b.weights > 0] for b in epoch]
        asked.append({tuple(pair) for pair in np.concatenate(marked).tolist()})
    assert len(asked[0]) > 50
    assert 0.2 < len(asked[0] & asked[1]) / len(asked[0]) < 0.4, "0.3 where the two are independent"


def test_positions_run_on_through_a_row_where_they_do_not_restart():
    data = toy.examples(60)
    for batch in batches(data, plan_of("packed, positions run on", data)):
        for tokens in (batch.source, batch.target):
            assert tokens.layout == "any"
            assert (tokens.segments.max(axis=1) > 1).any()
            assert (tokens.positions == np.arange(tokens.shape[1])).all()


def test_a_packer_s_settings_reach_it():
    data = toy.examples(200)
    most = lambda name, **more: max(
        np.bincount(p.pieces.rows).max()
        for p in make_layout(dataclasses.replace(config(name), **more), data.lengths).place(
            np.arange(200), data.lengths
        )
    )
    assert most("packed") > 3
    assert most("packed", pack_depth=2) == most("packed, online", pack_depth=2) == 2
    layouts = [make_layout(dataclasses.replace(config("packed, online"), pack_buffer=n), data.lengths) for n in (1, 50)]
    tight, wide = (sum(p.pieces.count for p in layout.place(np.arange(200), data.lengths)) for layout in layouts)
    assert tight > wide


def test_batches_of_like_rows_come_in_random_order():
    data = toy.examples(400)
    for name in ("bucketed", "packed, pooled, depth 2"):
        plan = plan_of(name, data)
        held = [plan.lengths[p.pieces.examples].sum() / p.pieces.count for p in plan.epoch(0)][:-3]
        falling = np.abs(np.corrcoef(held, np.arange(len(held)))[0, 1])
        assert falling < 0.5, "packers leave the fullest rows first, buckets the shortest"
        again = [p.pieces.examples.tolist() for p in plan_of(name, data).epoch(0)]
        assert again == [p.pieces.examples.tolist() for p in plan.epoch(0)]


def test_bucketed_sorts_within_its_window_only():
    data = toy.examples(400)
    layout = make_layout(dataclasses.replace(config("bucketed"), window=2, shapes=1), data.lengths)
    first = layout.place(np.arange(400), data.lengths)[:2]
    assert max(p.pieces.examples.max() for p in first) < 2 * 16, "the first batches hold the first examples"


def test_the_second_side_decides_where_the_first_is_equal():
    data = toy.examples(400)
    batch = DataConfig(layout="dynamic", batch_examples=16, sort="source_target")
    placements = make_layout(batch, data.lengths).place(np.arange(400), data.lengths)
    ends = sorted(data.lengths[p.pieces.examples][[0, -1]].tolist() for p in placements)
    assert [pair for batch in ends for pair in batch] == sorted(pair for batch in ends for pair in batch)


def test_many_lengths_cost_little():
    lengths = np.random.default_rng(0).integers(1, 2000, (200_000, 2))
    start = time.process_time()
    layout = make_layout(DataConfig(layout="bucketed"), lengths)
    assert time.process_time() - start < 3.0
    assert len(layout.shapes) == 8


def test_least_squares_asks_for_a_pool():
    with pytest.raises(Refused, match=r"nnlshp solves for all examples at once: .*data\.pack_pool"):
        make_layout(DataConfig(packer="nnlshp"), toy.examples(9).lengths)


def test_a_plan_s_fingerprint_tells_what_decides_the_order():
    data, other = toy.examples(60), toy.examples(60, seed=1)
    prints = [
        plan_of("packed", data).fingerprint,
        plan_of("packed", data, seed=4).fingerprint,
        plan_of("packed", data, epochs=3).fingerprint,
        plan_of("packed", data, devices=2).fingerprint,
        plan_of("packed", other).fingerprint,
        plan_of("packed, pooled", data).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert plan_of("packed", toy.examples(60)).fingerprint == prints[0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_report_counts_what_the_batches_hold(name):
    data = toy.examples(110)
    plan = plan_of(name, data)
    report = plan.report()
    built = list(batches(data, Plan(plan.layout, plan.lengths, plan.seed, 1)))
    real = sum(int(tokens.real.sum()) for batch in built for tokens in (batch.source, batch.target))
    slots = sum(tokens.ids.size for batch in built for tokens in (batch.source, batch.target))
    assert report.updates == len(built)
    assert report.rows == sum(batch.source.shape[0] for batch in built)
    assert report.real_token_fraction == pytest.approx(real / slots)
    assert len(report.shapes) == len({(batch.source.shape, batch.target.shape) for batch in built})
    held = [counted_in(batch) for batch in built]
    assert [plan.counted(update) for update in range(len(built))] == held, "which a host sees its own rows of"


@pytest.mark.parametrize("name", [*LAYOUTS])
def test_every_slot_is_paid_for_by_a_length(name):
    data = toy.examples(90)
    plan = plan_of(name, data)
    found = {key: np.array(values) for key, values in plan.by_length(1).items()}
    shapes = [placement.shape for placement in plan.epoch(1)]
    assert found["slots"].sum() == pytest.approx(sum(s.rows * (s.source + s.target) for s in shapes), abs=0.5)
    assert found["tokens"].sum() == data.lengths.sum()
    assert found["examples"].sum() == len(data)
    assert (found["slots"] >= found["tokens"]).all()
    assert (found["length"][found["examples"] > 0] > 0).all(), "length 0 is of empty rows"


def test_a_budget_of_tokens_holds():
    data = toy.examples(200)
    for placement in plan_of("dynamic, tokens", data).epoch(0):
        shape = placement.shape
        assert placement.pieces.count <= shape.rows
        assert shape.rows * max(shape.source, shape.target) <= 160
    with pytest.raises(Refused, match=r"data\.batch_tokens=8: 1 rows of the longest examples take 16 slots"):
        make_layout(DataConfig(layout="dynamic", batch_tokens=8, length=16), data.lengths)


def test_sorted_batches_waste_less_and_come_in_random_order():
    data = toy.examples(400)
    share = {name: plan_of(name, data).report().real_token_fraction for name in LAYOUTS if "dynamic" in name}
    assert share["dynamic, sorted by source"] > share["dynamic"]
    assert share["dynamic, sorted by both"] >= share["dynamic, sorted by source"]
    means = [data.lengths[p.pieces.examples, 0].mean() for p in plan_of("dynamic, sorted by source", data).epoch(0)]
    spreads = [np.ptp(data.lengths[p.pieces.examples, 0]) for p in plan_of("dynamic, sorted by source", data).epoch(0)]
    assert means != sorted(means)
    assert max(spreads) <= 2, "16 of 400 examples of 9 lengths"


def test_a_larger_pool_wastes_less():
    data = toy.examples(600)
    share = {name: plan_of(name, data).report().real_token_fraction for name in LAYOUTS}
    assert share["packed, all together"] > share["packed"] > share["dynamic"] > share["static"]


def test_examples_that_are_not_dynamic_cannot_be_sorted():
    with pytest.raises(Refused, match=r"data\.sort and data\.batch_tokens are for the layout dynamic, not for static"):
        DataConfig(layout="static", sort="source")


@pytest.mark.slow
@pytest.mark.parametrize("packer", ["best_fit", "lpfhp"])
def test_400_batches_of_multi30k_a_second(packer):
    """64 rows of 64 slots, the plan of the epoch included; on two cores twice to four times as many are measured."""
    splits = [multi30k.file_of(split, language) for split in ("train", "test") for language in ("en", "de")]
    need(*splits)
    settings = {"pack_length": 64, "batch_examples": 310, "packer": packer}
    config = DataConfig(name="multi30k/en-de", pack_pool=None if packer == "best_fit" else 10**6, **settings)
    data = load_task(dataclasses.replace(config, evaluation_examples=10)).train
    start = time.perf_counter()
    stream = list(batches(data, Plan(make_layout(config, data.lengths), data.lengths, 0, 3)))
    seconds = time.perf_counter() - start
    assert np.mean([batch.target.shape[0] for batch in stream]) > 60
    assert max(stream[0].source.shape[1], stream[0].target.shape[1]) == 64
    assert len(stream) / seconds > 400
