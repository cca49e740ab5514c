"""Planted faults beside the mask: shifts, caches, recurrences, pooling, normalisation. Each must be caught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import audit, masks
from tests.audit.specimen import SOURCE, VOCABULARY, WIDTH, hide, tokens

RNG = np.random.default_rng(1)
EMBED, IN, OUT = (RNG.normal(size=shape).astype(np.float32) for shape in ((VOCABULARY, WIDTH), *[(WIDTH, WIDTH)] * 2))
REAL = SOURCE.real
FLOORS = {"segment": masks.segment, "causal": masks.causal & masks.segment}


def declared(kind, of=SOURCE):
    return np.asarray(FLOORS[kind](of, of))[:, 0] | np.eye(of.shape[1], dtype=bool)


def check(fn, may, of=SOURCE):
    return audit.check(fn, {"ids": of.ids}, {"ids": may}, vocabulary=VOCABULARY)


def positions(found):
    """Rows, outputs and inputs of leaks or dead edges."""
    return {(x.row, x.output_position, x.input_position) if isinstance(x, audit.Dead) else x[1:5] for x in found}


def labels_to_logits(ids, shift):
    """A decoder that reads labels shifted right by `shift` behind zeros, and sees what came before."""
    shifted = jnp.pad(ids, ((0, 0), (shift, 0)))[:, : ids.shape[1]]
    return jnp.cumsum(jnp.asarray(EMBED)[shifted], axis=1)


LABELS = tokens([1, 1, 1, 1], [1, 1, 1, 1])
BEFORE = np.broadcast_to(np.tri(4, k=-1, dtype=bool), (2, 4, 4))


def test_labels_shifted_right_are_clean():
    report = check(lambda ids: labels_to_logits(ids, 1), BEFORE, LABELS)
    assert report.ok
    assert not report.dead


def test_shift_right_missing():
    """Every output reads the label it is to predict."""
    report = check(lambda ids: labels_to_logits(ids, 0), BEFORE, LABELS)
    assert positions(report.leaks) == {(b, t, b, t) for b in range(2) for t in range(4)}


def test_teacher_forcing_off_by_one():
    """Shifted by two: no output knows the label before its own."""
    report = check(lambda ids: labels_to_logits(ids, 2), BEFORE, LABELS)
    assert report.ok
    assert positions(report.dead) == {(b, t, t - 1) for b in range(2) for t in range(1, 4)}


def decode(ids, late=0, ahead=0):
    """One step at a time over a cache; `late` sees slots late, `ahead` writes the next token's key too."""
    x = jnp.asarray(EMBED)[ids]
    batch, length = ids.shape
    cache, out = jnp.zeros((batch, length, WIDTH)), []
    for step in range(length):
        for slot in range(step, min(step + 1 + ahead, length)):
            cache = cache.at[:, slot].set(x[:, slot])
        seen = jnp.broadcast_to(jnp.arange(length) <= step - late + ahead, (batch, 1, 1, length))
        out.append(hide(jnp.zeros((batch, 1, 1, length)), seen)[:, 0] @ cache)
    return jnp.concatenate(out, axis=1)


AFTER = np.broadcast_to(np.tri(4, dtype=bool), (2, 4, 4))


def test_a_cache_is_clean():
    assert check(decode, AFTER, LABELS).ok
    assert not check(decode, AFTER, LABELS).dead


def test_a_cache_one_slot_late():
    report = check(lambda ids: decode(ids, late=1), AFTER, LABELS)
    assert positions(report.dead) == {(b, t, t) for b in range(2) for t in range(4)}


def test_a_cache_one_slot_ahead():
    report = check(lambda ids: decode(ids, ahead=1), AFTER, LABELS)
    assert positions(report.leaks) == {(b, t, b, t + 1) for b in range(2) for t in range(3)}


LEFT = tokens([0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 2, 2, 0])


def recurrence(ids, of, hold=True, restart=True, reverse=False):
    """H ← tanh(x W + h U); the state is held through padding and starts again with every segment."""
    x, segments = jnp.asarray(EMBED)[ids], jnp.asarray(of.segments)

    def step(carry, now):
        state, before = carry
        inputs, segment = now
        state = jnp.where((segment != before)[:, None] & restart & (segment > 0)[:, None], 0.0, state)
        new = jnp.tanh(inputs @ jnp.asarray(IN) + state @ jnp.asarray(OUT))
        new = jnp.where((segment > 0)[:, None] | (not hold), new, state)
        return (new, segment), new

    start = jnp.zeros((len(ids), WIDTH)), jnp.zeros(len(ids), jnp.int32)
    _, out = jax.lax.scan(step, start, (x.swapaxes(0, 1), segments.T), reverse=reverse)
    return jnp.where(jnp.asarray(of.real)[..., None], out.swapaxes(0, 1), 0.0)


ONWARD = np.asarray(FLOORS["causal"](LEFT, LEFT))[:, 0]


def test_a_recurrence_that_holds_its_state_is_clean():
    report = check(lambda ids: recurrence(ids, LEFT), ONWARD, LEFT)
    assert report.ok
    assert not report.dead


def test_a_state_carried_through_padding():
    report = check(lambda ids: recurrence(ids, LEFT, hold=False, restart=False), ONWARD, LEFT)
    padded = {(0, t, 0, s) for t in (2, 3, 4) for s in (0, 1)}
    assert padded <= positions(report.leaks)


def test_a_state_carried_into_the_next_example_of_a_packed_row():
    report = check(lambda ids: recurrence(ids, LEFT, restart=False), ONWARD, LEFT)
    assert positions(report.leaks) == {(2, t, 2, s) for t in (2, 3) for s in (0, 1)}


def test_a_backward_recurrence_in_a_decoder():
    report = check(lambda ids: recurrence(ids, LEFT, reverse=True), ONWARD, LEFT)
    assert positions(report.leaks) >= {(0, 2, 0, 3), (0, 2, 0, 4), (1, 0, 1, 1)}


POOLED = np.asarray(REAL)[:, None]


def pool(reduce):
    return lambda ids: reduce(jnp.asarray(EMBED)[ids], jnp.asarray(REAL)[..., None])[:, None]


POOLS = {
    "mean": (lambda x, real: (x * real).sum(1) / real.sum(1), lambda x, real: x.mean(1)),
    "max": (lambda x, real: jnp.where(real, x, -jnp.inf).max(1), lambda x, real: x.max(1)),
    "sum": (lambda x, real: (x * real).sum(1), lambda x, real: x.sum(1)),
}


@pytest.mark.parametrize("kind", POOLS)
def test_pooling_over_padding(kind):
    right, wrong = POOLS[kind]
    full = tokens([1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 2, 2, 0])
    real = lambda reduce: lambda ids: reduce(jnp.asarray(EMBED)[ids], jnp.asarray(full.real)[..., None])[:, None]
    may = np.asarray(full.real)[:, None]
    assert check(real(right), may, full).ok
    pads = {(b, 0, b, s) for b, s in zip(*np.nonzero(~full.real), strict=True)}
    leaks = positions(check(real(wrong), may, full).leaks)
    # Of a maximum, a padding that stays below it moves nothing.
    assert leaks == pads or (kind == "max" and leaks and leaks < pads)


def test_the_last_slot_taken_for_the_last_token():
    last = lambda ids: jnp.asarray(EMBED)[ids][:, -1:]
    report = check(last, POOLED & (np.arange(5) == np.maximum(REAL.sum(1) - 1, 0)[:, None])[:, None])
    assert {(1, 0, 1, 4), (2, 0, 2, 4)} <= positions(report.leaks)
    assert (1, 0, 2) in positions(report.dead)


def test_batch_norm_reads_the_other_rows():
    norm = lambda ids: (lambda x: (x - x.mean((0, 1))[None, None]) / x.std((0, 1))[None, None])(jnp.asarray(EMBED)[ids])
    report = check(norm, np.broadcast_to(np.eye(5, dtype=bool), (4, 5, 5)))
    assert (0, 0, 1, 4) in positions(report.leaks)
    assert len({(leak.input_row, leak.output_row) for leak in report.leaks}) == 16


def test_layer_norm_over_time_reads_the_future():
    norm = lambda ids: (lambda x: x - x.mean(1, keepdims=True))(jnp.cumsum(jnp.asarray(EMBED)[ids], 1))
    report = check(norm, AFTER, LABELS)
    assert positions(report.leaks) == {(b, t, b, s) for b in range(2) for t in range(4) for s in range(t + 1, 4)}


@pytest.mark.parametrize(("pad", "reads"), [((2, 0), None), ((1, 1), 1)], ids=["causal", "centred"])
def test_a_convolution_with_its_kernel_in_the_middle(pad, reads):
    def convolve(ids):
        x = jnp.pad(jnp.asarray(EMBED)[ids], ((0, 0), pad, (0, 0)))
        return sum(x[:, i : i + 4] * (i + 1) for i in range(3))

    report = check(convolve, AFTER, LABELS)
    wanted = {(b, t, b, t + 1) for b in range(2) for t in range(3)} if reads else set()
    assert positions(report.leaks) == wanted


def test_a_row_that_reads_its_neighbour():
    report = check(lambda ids: jnp.asarray(EMBED)[jnp.roll(ids, 1, axis=0)], np.zeros((4, 5, 5), bool))
    assert positions(report.leaks) == {((b + 1) % 4, t, b, t) for b in range(4) for t in range(5)}
    assert "of row" in str(report)


def test_dropout_left_on():
    state = np.random.default_rng(0)
    noisy = lambda ids: EMBED[ids] * (state.random(ids.shape) < 0.9)[..., None]
    with pytest.raises(ValueError, match=r"two calls with the same inputs differ.*is dropout on"):
        audit.check(noisy, {"ids": SOURCE.ids}, {"ids": declared("segment")}, vocabulary=VOCABULARY)


def sum_with_places(places):
    """A model whose positions are what `places` makes of Tokens."""

    def fn(ids):
        x = jnp.asarray(EMBED)[ids.ids] + jnp.sin(jnp.asarray(places(ids), jnp.float32))[..., None]
        seen = (masks.causal & masks.segment)(ids, ids)
        return hide(jnp.einsum("bqd,bkd->bqk", x, x)[:, None], seen)[:, 0] @ x

    return fn


EXAMPLES = [{"ids": RNG.integers(1, VOCABULARY, n)} for n in (3, 2)]


def drift(model, **how):
    return audit.drift(model, EXAMPLES, "ids", pads=(1,), **how)


def test_right_positions_do_not_drift():
    model, seen = sum_with_places(lambda t: t.positions), []
    found = drift(lambda ids: (seen.append(ids), model(ids))[1])
    assert set(found.logits) == {"padded by 1", "beside others", "in reverse", "packed"}
    assert found.largest < 1e-5
    # Alone, padded by 1, side by side both ways, and in one row with padding behind.
    assert [t.shape for t in seen] == [(1, 3), (1, 2), (1, 4), (1, 3), (2, 3), (2, 3), (1, 6)]
    assert [t.layout for t in seen] == ["rows"] * 6 + ["packed"]


def test_positions_not_restarted_in_packed_rows_drift():
    slots = lambda t: np.broadcast_to(np.arange(t.shape[1]), t.shape)
    found = drift(sum_with_places(slots))
    assert found.logits["packed"] > 0.01
    assert max(far for name, far in found.logits.items() if name != "packed") < 1e-5


def test_positions_counted_from_the_end_drift_with_padding():
    found = drift(sum_with_places(lambda t: t.shape[1] - t.positions))
    assert found.logits["padded by 1"] > 0.01


def test_a_norm_over_the_batch_drifts_with_its_company():
    model = sum_with_places(lambda t: t.positions)
    mixed = lambda ids: (lambda out: out - out.mean((0, 1))[None, None])(model(ids))
    found = drift(mixed)
    assert found.logits["beside others"] > 0.01


def test_decoded_outputs_that_change_are_counted():
    model = sum_with_places(lambda t: t.positions)
    longest = lambda ids: [[ids.shape[1]]] * len(ids.ids)  # whose length hangs on the longest of the batch
    filled = lambda ids: [[7, *[0] * ids.shape[1]]] * len(ids.ids)
    assert not any(drift(model, decode=filled).changed.values()), "padding at the end is nobody's output"
    own = lambda ids: [row[row > 0].tolist() for row in np.asarray(ids.segments)]
    assert drift(model, decode=longest).changed["beside others"] == 1
    assert not any(drift(model, decode=own).changed.values())


def test_an_output_that_is_nan_in_company_has_drifted():
    model = lambda ids: jnp.where(len(ids.ids) > 1, jnp.nan, 1.0) * jnp.ones((*ids.shape, 1))
    assert drift(model).logits["beside others"] == np.inf
    always = lambda ids: jnp.full((*ids.shape, 1), jnp.nan)
    assert audit.drift(always, EXAMPLES, "ids").largest == np.inf
    with pytest.raises(ValueError, match="pads: expected at least one"):
        audit.drift(model, EXAMPLES, "ids", pads=())
    with pytest.raises(ValueError, match="expected at least 2"):
        audit.drift(model, EXAMPLES[:1], "ids")
