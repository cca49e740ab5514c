"""Declared flow against paths searched one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxmask import audit


def search(steps, lengths, output):
    """Every input position from which a walk through the steps ends at each output position."""
    found = {}
    for name, length in lengths.items():
        found[name] = np.zeros((lengths[output], length), bool)
        for start in range(length):
            held = {(name, start)}
            for step in steps:
                mask = step.mask[0]
                now = {place for place in held if place[0] != step.reader or step.residual}
                now |= {(step.reader, q) for s, k in held if s == step.read for q in np.flatnonzero(mask[:, k])}
                held = now
            found[name][[position for stream, position in held if stream == output], start] = True
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_closure_is_every_path(seed, count):
    rng, lengths = np.random.default_rng(seed), {"source": 4, "target": 3}
    steps = []
    for i in range(count):
        reader, read = rng.choice(list(lengths), 2)
        mask = rng.random((1, lengths[reader], lengths[read])) < 0.3
        steps.append(audit.Attends(f"layer_{i}", str(reader), str(read), mask, bool(rng.random() < 0.7)))
    inputs = {name: np.zeros((1, length), int) for name, length in lengths.items()}
    found, wanted = audit.closure(steps, inputs, "target"), search(steps, lengths, "target")
    for name in lengths:
        np.testing.assert_array_equal(found[name][0], wanted[name])


def test_pooling_makes_a_stream_of_its_own():
    pool = audit.Attends("pool", "pooled", "ids", np.array([[[True, True, False]]]))
    assert audit.closure([pool], {"ids": np.zeros((1, 3), int)}, "pooled")["ids"].tolist() == [[[True, True, False]]]


def test_by_layer_is_the_reach_so_far():
    step = np.eye(3, k=-1, dtype=bool)[None]
    steps = [audit.Attends(f"layer_{i}", "ids", "ids", step) for i in range(2)]
    reached = audit.by_layer(steps, {"ids": np.zeros((1, 3), int)})
    assert reached["layer_0"]["ids"][0].astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert reached["layer_1"]["ids"][0].astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("step", "output", "message"),
    [
        (audit.Attends("l", "ids", "memory", np.ones((1, 3, 3), bool)), "ids", "l: reads 'memory', which nobody has"),
        (audit.Attends("l", "ids", "ids", np.ones((1, 3, 2), bool)), "ids", r"l: mask: expected bool\[1, Q, 3\]"),
        (audit.Attends("l", "ids", "ids", np.ones((1, 3, 3))), "ids", r"l: mask: .* got float64\[1, 3, 3\]"),
        (audit.Attends("l", "ids", "ids", np.ones((1, 2, 3), bool)), "ids", "l: mask: expected 3 queries of 'ids'"),
        (audit.Attends("l", "ids", "ids", np.ones((1, 3, 3), bool)), "out", "output: no stream is called 'out'"),
    ],
)
def test_what_does_not_fit_is_named(step, output, message):
    with pytest.raises(ValueError, match=message):
        audit.closure([step], {"ids": np.zeros((1, 3), int)}, output)
