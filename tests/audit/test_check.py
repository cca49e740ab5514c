"""What the audit refuses, how it reports, and that its ways of calling agree."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask import audit
from tests.audit import specimen

IDS = np.array([[1, 2, 3], [4, 5, 0]])
TABLE = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
NOISE = np.random.default_rng(0)
CAUSAL = np.broadcast_to(np.tri(3, dtype=bool), (2, 3, 3))


def onward(ids):
    """Each output reads what came before it and itself."""
    return jnp.cumsum(jnp.asarray(TABLE)[ids], axis=1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_linear_flow_is_measured_exactly(seed):
    """Within rows and across them: outputs are sums of what a random mask says."""
    rng = np.random.default_rng(seed)
    reads = rng.random((2, 3, 2, 3)) < 0.3
    declared = rng.random((2, 3, 3)) < 0.5
    fn = lambda ids: jnp.einsum("btcs,csd->btd", reads.astype(np.float32), jnp.asarray(TABLE)[ids])
    report = audit.check(fn, {"ids": IDS}, {"ids": declared}, vocabulary=7)
    own = np.stack([reads[b, :, b] for b in range(2)])
    np.testing.assert_array_equal(report.measured["ids"], own)
    wanted = {(b, t, b, s) for b, t, s in zip(*np.nonzero(own & ~declared), strict=True)}
    wanted |= {(b, t, c, s) for b, t, c, s in zip(*np.nonzero(reads), strict=True) if b != c}
    assert {leak[1:5] for leak in report.leaks} == wanted
    assert {dead[1:] for dead in report.dead} == set(zip(*np.nonzero(declared & ~own), strict=True))


def test_one_call_each_finds_what_many_at_once_find():
    """A function in numpy's clothes cannot be traced."""
    calls = []

    def plain(ids):
        calls.append(1)
        return np.cumsum(TABLE[np.asarray(ids)][:, ::-1], axis=1)

    one = audit.check(plain, {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7)
    many = audit.check(
        lambda ids: jnp.cumsum(jnp.asarray(TABLE)[ids][:, ::-1], axis=1), {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7
    )
    assert one.leaks == many.leaks
    assert one.leaks
    assert one.dead == many.dead
    # Thrice as given, once in vain under `vmap`, once to compare with, then rows and positions, thrice each.
    assert len(calls) == 3 + 1 + 1 + 2 * 3 + 3 * 3


def test_padding_is_replaced_and_never_put_in():
    seen = []

    def watch(ids):
        seen.append(np.asarray(ids))
        return TABLE[np.asarray(ids)]

    audit.check(watch, {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7)
    changed = [ids for ids in seen if (ids != IDS).any()]
    assert any(ids[1, 2] != 0 for ids in changed)
    for ids in changed:
        assert ids.max() < 7
        assert not (ids == 0)[IDS != 0].any()


def test_without_a_vocabulary_the_ids_at_hand_are_tried():
    assert audit.check(onward, {"ids": IDS}, {"ids": CAUSAL}).ok
    with pytest.raises(ValueError, match="vocabulary: ids has 1 ids beside padding"):
        audit.check(onward, {"ids": np.ones((2, 3), int)}, {"ids": CAUSAL})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {"ids": IDS * 1.0}}, r"inputs: ids: expected integer ids \[B, T\], got float64\[2, 3\]"),
        ({"inputs": {"ids": IDS[0]}}, r"inputs: ids: .* got int64\[3\]"),
        ({"declared": {"ids": CAUSAL[:, :2]}}, r"declared: ids: expected bool\[2, 3, 3\], got bool\[2, 2, 3\]"),
        ({"declared": {"ids": CAUSAL * 1}}, r"declared: ids: expected bool\[2, 3, 3\], got int64\[2, 3, 3\]"),
        ({"inputs": IDS}, r"inputs: expected a dict of the inputs' names and ids, got int64\[2, 3\]"),
        ({"declared": CAUSAL}, r"declared: expected a dict of the inputs' names and bool.*, got bool\[2, 3, 3\]"),
        ({"fn": lambda ids: (onward(ids), ids)}, r"fn: expected one array, floats .*, got a tuple of 2"),
        (
            {"fn": lambda ids: TABLE[np.asarray(ids)], "vocabulary": 999},
            r"vocabulary: fn fails with ids of it \(IndexError: .* size 7\): is it larger than the embedding\?",
        ),
        ({"declared": {}}, "declared: expected the inputs ids, got none"),
        ({"fn": lambda ids: ids}, r"fn: expected floats \[B, T_out, ...\], got int64\[2, 3\]"),
        ({"vocabulary": 2}, "vocabulary: ids has 1 ids beside padding"),
        (
            {"fn": lambda ids: TABLE[ids] + NOISE.normal(size=(2, 3, 1))},
            "two calls with the same inputs differ",
        ),
    ],
)
def test_bad_input_is_named(changes, message):
    given_ = {"fn": onward, "inputs": {"ids": IDS}, "declared": {"ids": CAUSAL}, "vocabulary": 7} | changes
    with pytest.raises(ValueError, match=message):
        audit.check(**given_)


def test_nan_is_never_reported_as_no_leaks():
    report = audit.check(lambda ids: onward(ids).at[1, 2].set(jnp.nan), {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7)
    assert not report.leaks
    assert not report.ok
    assert report.nan == ((1, 2),)
    assert "does not obey" in str(report)


def test_outputs_at_padding_are_marked_and_counted_apart():
    """Every output reads the row from its end; row 1 ends in padding."""
    backward = lambda ids: onward(ids[:, ::-1])[:, ::-1]
    first, *lines = str(audit.check(backward, {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7)).splitlines()
    assert "6 leaks, 6 dead edges (2 at padding), 0 outputs NaN" in first
    assert [line for line in lines if line.endswith(" (padding)")] == [
        f"  dead: row 1, output 2 never moved with ids {position} (padding)" for position in (0, 1)
    ]
    assert lines[-1].endswith(" (padding)"), "they come last"
    other = audit.check(lambda ids: backward(ids)[:, :2], {"ids": IDS}, {"ids": CAUSAL[:, :2]}, vocabulary=7)
    assert "(padding)" not in str(other), "outputs that follow no input"


def test_an_output_that_turns_nan_has_moved():
    """Only the first token's replacement makes the others NaN."""
    poison = lambda ids: jnp.where(ids[:, :1] == IDS[:, :1], 0.0, jnp.nan)[..., None] + jnp.asarray(TABLE)[ids]
    report = audit.check(poison, {"ids": IDS}, {"ids": np.eye(3, dtype=bool)[None].repeat(2, 0)}, vocabulary=7)
    assert {leak[1:5] for leak in report.leaks} == {(b, t, b, 0) for b in range(2) for t in (1, 2)}


def test_minus_infinity_is_a_number_like_others():
    masked = lambda ids: onward(ids).at[:, :, 0].set(-jnp.inf)
    assert audit.check(masked, {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7).ok


@pytest.fixture(scope="module")
def leaky():
    return specimen.check(decoder=np.swapaxes(specimen.RIGHT["decoder"], 2, 3))


def test_the_report_for_people(leaky):
    lines = str(leaky).splitlines()
    assert lines[0].startswith(
        f"audit: does not obey what it declares: {len(leaky.leaks)} leaks, {len(leaky.dead)} dead"
    )
    assert "  leak: row 0, output 0 reads target 1, first in decoder_0" in lines
    assert "  dead: row 0, output 1 never moved with target 0" in lines


def test_the_report_for_programs(leaky):
    found = json.loads(leaky.to_json())
    assert found["ok"] is False
    assert len(found["leaks"]) == len(leaky.leaks)
    assert found["leaks"][0] == leaky.leaks[0]._asdict()
    assert len(found["dead"]) == len(leaky.dead)


def test_the_report_as_a_figure(leaky):
    figure = leaky.figure(row=0)
    panels = {axes.get_title(): np.asarray(axes.collections[0].get_array()) for axes in figure.axes}
    measured = panels["measured: target"].reshape(4, 4)
    declared = panels["declared: target"].reshape(4, 4).astype(bool)
    np.testing.assert_array_equal(declared, leaky.declared["target"][0])
    assert {(int(t), int(s)) for t, s in zip(*np.nonzero(measured == 3), strict=True)} == {
        (leak.output_position, leak.input_position)
        for leak in leaky.leaks
        if leak.input == "target" and leak.output_row == 0
    }


def test_flat_scores_touch_queries_and_keys_alone():
    params = {"layer": {"query": {"kernel": jnp.ones(2)}, "key": {"bias": jnp.ones(2)}, "value": jnp.ones(2)}}
    flat = audit.flat_scores(params, 0.5)
    assert jax.tree.map(lambda x: float(x[0]), flat) == {
        "layer": {"query": {"kernel": 0.5}, "key": {"bias": 0.5}, "value": 1.0}
    }


def test_flat_scores_show_what_a_sharp_softmax_hides():
    """A mask that is missing, under scores so far apart that the weights it should hide underflow."""
    one_hot = lambda ids: jax.nn.one_hot(ids, 7)
    ids = np.array([[1, 2, 3]])

    def attend(ids, scale):
        x = one_hot(ids)
        scores = scale * (jnp.arange(3)[None, :, None] == jnp.arange(3)[None, None, :]) * 500.0
        return jax.nn.softmax(scores, axis=-1) @ x

    declared = {"ids": np.eye(3, dtype=bool)[None]}
    assert audit.check(lambda ids: attend(ids, 1.0), {"ids": ids}, declared, vocabulary=7).ok
    assert len(audit.check(lambda ids: attend(ids, 0.1), {"ids": ids}, declared, vocabulary=7).leaks) == 6


def test_what_turns_nan_with_every_replacement_proves_nothing():
    shy = lambda ids: jnp.where((ids == IDS)[..., None], onward(ids), jnp.nan)
    report = audit.check(shy, {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7)
    assert not report.ok
    assert len(report.nan) == 6


def test_a_function_may_write_to_its_ids_and_gets_the_kind_it_was_given():
    def scribble(ids):
        ids[:, 0] = 1
        return TABLE[ids]

    ids = IDS.copy()
    report = audit.check(scribble, {"ids": ids}, {"ids": np.eye(3, dtype=bool)[None].repeat(2, 0)}, vocabulary=7)
    np.testing.assert_array_equal(ids, IDS)
    assert {dead[1:] for dead in report.dead} == {(0, 0, 0), (1, 0, 0)}
    first = lambda ids: onward(ids.at[:, 0].set(1))
    assert audit.check(first, {"ids": jnp.asarray(IDS)}, {"ids": CAUSAL}, vocabulary=7).ok


def test_a_function_that_is_random_now_and_then_is_refused():
    calls = []

    def rare(ids):
        calls.append(1)
        return TABLE[np.asarray(ids)] + (len(calls) > 10)

    with pytest.raises(ValueError, match="two calls with the same inputs differ"):
        audit.check(rare, {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"other": {"ids": CAUSAL}}, r"layers: other: expected a trace \[2, 3\] for ids, there are layer"),
        ({"layer": {"ids": CAUSAL[:, :2]}}, r"layers: layer: expected a trace \[2, 2\] for ids, got \[2, 3, 4\]"),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, message):
    given_ = audit.Layers(lambda ids: {"layer": onward(ids)}, layers)
    with pytest.raises(ValueError, match=message):
        audit.check(onward, {"ids": IDS}, {"ids": np.zeros_like(CAUSAL)}, vocabulary=7, layers=given_)


def test_the_vocabulary_of_every_input_is_needed():
    with pytest.raises(ValueError, match="vocabulary: expected the number of ids of ids, got id"):
        audit.check(onward, {"ids": IDS}, {"ids": CAUSAL}, vocabulary={"id": 7})
    with pytest.raises(ValueError, match="inputs: ids: int8 cannot hold 999 ids"):
        audit.check(onward, {"ids": IDS.astype(np.int8)}, {"ids": CAUSAL}, vocabulary=999)
    with pytest.raises(ValueError, match=r"fn: expected floats \[2, T_out, ...\]"):
        audit.check(lambda ids: onward(ids).swapaxes(0, 1), {"ids": IDS}, {"ids": CAUSAL}, vocabulary=7)


def test_flat_scores_of_nothing_are_refused():
    with pytest.raises(ValueError, match="found none: nothing was made flat"):
        audit.flat_scores({"attention": {"qkv": jnp.ones(2)}})
