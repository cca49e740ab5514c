"""Kernels that read slots instead of positions: where that is the same, and what they are then told."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export

from flaxmask import Tokens, attention, masks
from flaxmask.attention.call import Call
from flaxmask.attention.cudnn import cudnn
from flaxmask.attention.slots import by_slots, cells
from flaxmask.attention.splash import splash
from tests.attention.test_one_mask import by_loops, compare
from tests.masks.test_evaluate import oracle
from tests.masks.test_formula import formulas


def laid_out(rng, layout, batch, length):
    """Tokens that keep their layout's promise; positions of padding are anything, as they may be."""
    segments, positions = (np.zeros((batch, length), np.int32) for _ in range(2))
    for row in range(batch):
        end, number = 0, 0
        while end < length and (number == 0 or layout == "packed"):
            size = int(rng.integers(1, length + 1 if layout == "rows" else max(2, length // 2)))
            if rng.random() < 0.2:
                break
            number += 1
            here = slice(end, min(end + size, length))
            segments[row, here], positions[row, here] = number, np.arange(here.stop - end)
            end = here.stop
    positions[segments == 0] = rng.integers(-3, 2 * length, (segments == 0).sum())
    return Tokens(segments, segments, positions, None, layout).check()


@settings(max_examples=80, deadline=None)
@given(formulas(), st.integers(0, 2**32 - 1), st.sampled_from(["rows", "packed"]))
def test_a_formula_on_slots_sees_what_it_sees_on_positions(mask, seed, layout):
    mask = masks.segment & mask
    tokens = laid_out(np.random.default_rng(seed), layout, 2, 7)
    found = by_slots(mask, tokens, tokens)
    if found is None:
        return
    slots = np.arange(7)
    seen = np.equal.outer(slots, slots) | True
    for term in found.terms:
        seen = seen & cells(term, slots[:, None], slots[None])
    if found.interval is not None:
        least, most = found.interval
        distance = np.subtract.outer(slots, slots)
        inside = (distance >= (-9 if least is None else least)) & (distance <= (9 if most is None else most))
        np.testing.assert_array_equal(inside, seen)
    same = (tokens.segments[:, :, None] == tokens.segments[:, None]) & tokens.real[:, None]
    np.testing.assert_array_equal((seen & same)[:, None], oracle(mask, tokens, tokens))


@pytest.mark.parametrize(
    ("text", "layout", "is_read"),
    [
        ("segment", "rows", True),
        ("segment & causal & window(3)", "packed", True),
        ("segment & (causal | ~strided(2))", "packed", True),
        ("segment & global_tokens(2)", "rows", True),
        ("segment & global_tokens(2)", "packed", False),  # positions start again
        ("causal", "rows", False),  # a query that is padding has no slot of its own to go by
        ("segment | causal", "rows", False),
        ("segment & prefix", "rows", False),
        ("segment", "any", False),
    ],
)
def test_what_is_read_on_slots(text, layout, is_read):
    tokens = laid_out(np.random.default_rng(0), "rows", 1, 4)
    tokens = Tokens(tokens.ids, tokens.segments, tokens.positions, None, layout)
    assert (by_slots(masks.parse(text), tokens, tokens) is not None) == is_read


def test_distances_are_read_on_slots_in_self_attention_alone():
    tokens = laid_out(np.random.default_rng(0), "packed", 1, 4)
    other = jax.tree.map(np.copy, tokens)
    assert by_slots(masks.segment, tokens, other) is not None
    assert by_slots(masks.segment & masks.causal, tokens, other) is None


def outputs_and_gradients(run, mask, tokens, arrays, d_out):
    """Compiled, with the Tokens as arguments."""

    @jax.jit
    def call(arrays, d_out, held):
        # One object for query and key in self-attention, as models have it.
        pair = (held[0], held[0]) if len(held) == 1 else held
        out, pull = jax.vjp(lambda q, k, v: run(q, k, v, mask, *pair, None, 0.0, None), *arrays)
        return out, pull(d_out.astype(out.dtype))

    return call(arrays, d_out, tokens)


def check_lowering(run, text, layout, dtype, length, keys=None, size=8):
    mask, rng = masks.parse(text), np.random.default_rng(0)
    tokens = (laid_out(rng, layout, 2, length),)
    if keys:
        tokens = (*tokens, laid_out(rng, layout, 2, keys))
    shapes = [(length, 4), (keys or length, 2), (keys or length, 2), (length, 4)]
    *arrays, d_out = (jnp.asarray(rng.normal(size=(2, *shape, size)), dtype) for shape in shapes)
    found = outputs_and_gradients(run, mask, tokens, tuple(arrays), d_out)
    seen = oracle(mask, tokens[0], tokens[-1])
    out, gradients = by_loops(*arrays, np.zeros((1, 4, length, keys or length)), seen, d_out)
    compare(found, (out, gradients[:3]), dtype)
    blind = ~seen[:, 0].any(axis=-1)
    assert blind.any()
    assert not np.asarray(found[0])[blind].any()
    assert not np.asarray(found[1][0])[blind].any()


SLOTS = [
    ("causal & segment", "packed", "float32"),
    ("segment & window(70, 3)", "rows", "bfloat16"),
    ("segment & (causal | strided(3)) & ~window(0, 0)", "packed", "float32"),
]


@pytest.mark.parametrize(("text", "layout", "dtype"), SLOTS)
def test_splash_on_slots(text, layout, dtype):
    check_lowering(splash, text, layout, dtype, 300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "layout", "dtype"),
    [
        ("segment", "packed", "float16"),
        ("causal & segment & window(130)", "packed", "float32"),
        ("segment & (window(2, 2) | global_tokens(4))", "rows", "float32"),
        ("segment & causal & ~causal", "rows", "float32"),  # nothing at all
        ("segment & ~window(500, 500)", "rows", "float32"),  # nothing at this length
        ("segment & random_blocks(16, 1) & causal", "rows", "bfloat16"),
    ],
)
def test_splash_on_slots_more(text, layout, dtype):
    check_lowering(splash, text, layout, dtype, 300)


def test_splash_of_other_keys():
    check_lowering(splash, "segment", "rows", "float32", 300, 130)


def test_splash_lowers_for_a_tpu():
    """Compiled as far as a machine without one can."""
    tokens = laid_out(np.random.default_rng(0), "packed", 1, 256)
    shapes = [jax.ShapeDtypeStruct((1, 256, 2, 128), jnp.bfloat16)] * 3

    def loss(q, k, v, tokens, text):
        mask = masks.parse(text)
        return splash(q, k, v, mask, tokens, tokens, None, 0.0, None, interpret=False).astype(jnp.float32).sum()

    for text in ("causal & segment", "causal | padding"):
        step = jax.jit(jax.grad(functools.partial(loss, text=text), (0, 1, 2)))
        exported = export.export(step, platforms=["tpu"])(*shapes, tokens)
        assert "tpu_custom_call" in exported.mlir_module()


@pytest.fixture
def told(monkeypatch):
    """What cuDNN would be told; the same arguments are then obeyed by jax's own implementation."""
    calls, real = [], jax.nn.dot_product_attention

    def capture(query, key, value, implementation, **how):
        assert implementation == "cudnn"
        calls.append(how)
        return real(query, key, value, implementation="xla", **how)

    monkeypatch.setattr(jax.nn, "dot_product_attention", capture)
    return calls


LENGTHS = {"query_seq_lengths", "key_value_seq_lengths"}


@pytest.mark.parametrize(
    ("text", "layout", "arguments"),
    [
        ("segment", "rows", LENGTHS),
        ("causal & segment", "rows", LENGTHS | {"is_causal"}),
        ("causal & segment & window(3) & window(5, 2)", "rows", LENGTHS | {"is_causal", "local_window_size"}),
        ("segment & window(3, 2)", "rows", {"mask"}),
        ("segment & window(3)", "rows", LENGTHS | {"is_causal", "local_window_size"}),  # no key after the query: causal
        ("causal & segment & strided(2)", "rows", {"mask"}),
        ("causal & segment", "packed", {"mask"}),
        ("padding", "rows", {"mask"}),
    ],
)
def test_cudnn_is_told_exactly_the_mask(text, layout, arguments, told):
    check_lowering(cudnn, text, layout, "bfloat16", 12)
    (how,) = told
    assert set(how) == arguments
    assert "local_window_size" not in how or (how["is_causal"] and how["local_window_size"] == (3, 0))


def test_cudnn_of_other_keys(told):
    check_lowering(cudnn, "segment", "rows", "bfloat16", 12, 8)
    assert set(told[0]) == LENGTHS


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("cudnn", {"platform": "cpu"}, "it is a kernel for GPUs, and this runs on cpu"),
        ("cudnn", {"query": jax.ShapeDtypeStruct((1, 4, 2, 8), jnp.float32)}, "takes float16 and bfloat16"),
        ("cudnn", {"query": jax.ShapeDtypeStruct((1, 4, 2, 12), jnp.float16)}, "multiples of 8 up to 128, .* has 12"),
        ("cudnn", {"query": jax.ShapeDtypeStruct((1, 5, 2, 8), jnp.float16)}, "padding needs the dense mask"),
        ("cudnn", {"bias": 1}, "bias"),
        ("cudnn", {"dropout_rate": 0.1}, "dropout"),
        ("cudnn", {"mask": masks.By(len)}, "reads all scores"),
        ("splash", {"platform": "gpu"}, "kernel for TPUs .* runs on gpu"),
        ("splash", {"platform": "tpu", "bias": 1}, "no bias"),
        ("splash", {"platform": "tpu", "dropout_rate": 0.1}, "no dropout"),
        ("splash", {"platform": "tpu", "mask": ~masks.By(len)}, "reads all scores"),
    ],
)
def test_a_refusal_names_its_reason(name, changes, reason):
    shape, tokens = jax.ShapeDtypeStruct((1, 4, 2, 8), jnp.bfloat16), Tokens.of(np.ones((1, 4), int))
    call = Call(shape, shape, masks.padding, tokens, tokens, None, 0.0, "gpu")
    with pytest.raises(ValueError, match=f"implementation='{name}': .*{reason}"):
        attention.dispatch.choose(call._replace(**changes), name)
