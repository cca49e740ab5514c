import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxmask import Tokens, attention, masks


def shape(length, heads=4, size=64, dtype=jnp.float32):
    return jax.ShapeDtypeStruct((1, length, heads, size), dtype)


def explain(mask, tokens, length, **arguments):
    return attention.explain(*[shape(length)] * 3, masks.parse(mask), tokens, tokens, **arguments)


def rows(length):
    return Tokens.of(np.ones((1, length), int), layout="rows")


def test_a_long_causal_call_on_cpu():
    report = explain("causal & segment", rows(2048), 2048)
    assert report.picked == "blockwise"
    assert report.visible == 2048 * 2049 // 2
    # Query blocks of 256 see key blocks of 512 up to their own: 1, 1, 2, 2, 3, 3, 4, 4 of 4.
    assert (report.blocks, report.skipped, report.open) == (32, 12, 12)
    assert report.flops == (2 * 2 * 20 * 256 * 512 * 64 * 4, 5 * 2 * 20 * 256 * 512 * 64 * 4)
    text = str(report)
    for line in (
        "mask causal & segment: 2,098,176 of 4,194,304 cells visible (0.500)",
        "picked: blockwise",
        "  computed: 20 of 32 blocks of 256 × 512, 12 of them without a mask",
        "  cudnn: it is a kernel for GPUs, and this runs on cpu",
        "  xla: blockwise comes first",
    ):
        assert line in text.splitlines()


def test_a_short_call_says_what_is_built():
    report = explain("causal & segment", rows(16), 16)
    assert report.picked == "xla"
    assert report.lowering.built == {"mask": 256, "scores": 4096, "weights": 4096}
    assert "blockwise: shorter than 1,048,576 scores a head" in str(report)
    assert "computed: every cell" in str(report)


def test_tokens_may_be_shapes():
    tokens = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, rows(2048)))
    report = explain("causal & segment", tokens, 2048)
    assert (report.picked, report.visible, report.skipped) == ("blockwise", None, None)
    assert "known at run time" in str(report)


def test_what_is_counted_is_the_mask_s(monkeypatch):
    monkeypatch.setattr(importlib.import_module("flaxmask.attention.explain"), "CHUNK", 30)
    segments = np.array([[1, 1, 2, 0, 2, 1, 3, 3, 3, 3]], np.int32)
    tokens = Tokens(segments, segments, np.arange(10, dtype=np.int32)[None])
    report = explain("segment & ~window(1)", tokens, 10)
    assert report.visible == int((masks.segment & ~masks.window(1))(tokens, tokens).sum())


def test_splash_says_which_part_became_what():
    report = explain("causal & segment & window(9)", rows(256), 256, implementation="splash")
    assert report.lowering.parts == (
        ("segment", "segment ids, compared in the kernel"),
        ("causal & window(9)", "a range, computed in the kernel"),
    )
    assert not report.lowering.built
    dense = explain("causal & padding", rows(256), 256, implementation="splash")
    assert dense.lowering.built == {"mask": 4 * 256 * 256}


def test_what_would_be_refused_is_refused():
    with pytest.raises(ValueError, match="implementation='cudnn': it is a kernel for GPUs"):
        explain("causal", rows(16), 16, implementation="cudnn")
    with pytest.raises(ValueError, match=r"query_tokens: expected Tokens \[1, 16\]"):
        explain("causal", rows(15), 16)
