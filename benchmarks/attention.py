"""Attention over masks, forward and backward: ours beside what a user would pick instead, in one run.

    python benchmarks/attention.py [--quick] [--out benchmarks/results/attention.json]

Every figure is the median of several calls in one process; ratios hold between machines, seconds do not. torch is
compared where it is installed.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask import Tokens, attention, masks

CASES = (
    # name, formula, length, heads, layout
    ("causal 4096", "causal & segment", 4096, 4, "rows"),
    ("causal, window 256, 8192", "causal & segment & window(256)", 8192, 4, "rows"),
    ("packed segments of 256 in 8192", "causal & segment", 8192, 4, "packed"),
)
SIZE = 64


def tokens(length: int, layout: str) -> Tokens:
    """One row of real tokens; packed ones in examples of about 256."""
    if layout == "rows":
        return Tokens.of(np.ones((1, length), int), layout="rows")
    lengths = np.random.default_rng(0).integers(192, 321, length // 192)
    ends = np.cumsum(lengths)
    segments = np.searchsorted(ends, np.arange(length), side="right") + 1
    starts = np.concatenate([[0], ends])[segments - 1]
    as_row = lambda x: x[None].astype(np.int32)
    return Tokens(as_row(segments), as_row(segments), as_row(np.arange(length) - starts), None, "packed").check()


def seconds(call: Callable[[], object], times: int) -> float:
    """Median of `times` calls after one that warms up."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def ours(implementation: str, mask: masks.Mask, held: Tokens, arrays) -> Callable[[], object]:
    """Forward and backward of one of our implementations, compiled."""
    held = jax.device_put(held)

    def loss(query, key, value, held):
        out = attention.dot_product_attention(query, key, value, mask, held, held, implementation=implementation)
        return jnp.sum(out**2)

    step = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    return lambda: jax.block_until_ready(step(*arrays, held))


def torch_peer(mask: masks.Mask, held: Tokens, arrays) -> dict[str, Callable[[], object]]:
    """Torch's fused attention, with its causal flag where the mask is that, else with the boolean mask."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    inputs = [torch.tensor(np.asarray(x)).transpose(1, 2).contiguous().requires_grad_() for x in arrays]

    def call(**how):
        for x in inputs:
            x.grad = None
        out = torch.nn.functional.scaled_dot_product_attention(*inputs, **how)
        (out**2).sum().backward()

    seen = torch.tensor(np.asarray(mask(held, held)))
    peers: dict[str, Callable[[], object]] = {"torch, boolean mask": lambda: call(attn_mask=seen)}
    if str(mask) == "causal & segment" and held.layout == "rows":
        peers["torch, causal flag"] = lambda: call(is_causal=True)
    return peers


def run(case, times: int) -> dict[str, object]:
    """One line of the table: milliseconds of each, and ratios to blockwise."""
    name, text, length, heads, layout = case
    mask, held = masks.parse(text), tokens(length, layout)
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=(1, length, heads, SIZE)), jnp.float32) for _ in range(3)]
    calls = {i: ours(i, mask, held, arrays) for i in ("xla", "blockwise")}
    try:
        calls |= torch_peer(mask, held, arrays)
    except ImportError:
        print("torch is not installed: left out")
    found = {peer: 1e3 * seconds(call, times) for peer, call in calls.items()}
    ratios = {peer: found[peer] / found["blockwise"] for peer in found if peer != "blockwise"}
    shown = ", ".join(f"{peer} {value:,.0f} ms" for peer, value in found.items())
    print(f"{name}: {shown}; blockwise is " + ", ".join(f"{r:.2f}× {p}" for p, r in ratios.items()), flush=True)
    return {"case": name, "mask": text, "milliseconds": found, "times_as_fast_as": ratios}


def longest() -> dict[str, object]:
    """T = 32,768 causal, one head: runs, and in how much memory beyond its inputs."""
    length = 32_768
    held = jax.device_put(tokens(length, "rows"))
    array = jnp.asarray(np.random.default_rng(0).normal(size=(1, length, 1, SIZE)), jnp.float32)
    mask = masks.parse("causal & segment")

    def loss(x, held):
        return jnp.sum(attention.dot_product_attention(x, x, x, mask, held, held, implementation="blockwise") ** 2)

    compiled = jax.jit(jax.grad(loss)).lower(array, held).compile()
    start = time.perf_counter()
    out = jax.block_until_ready(compiled(array, held))
    took = time.perf_counter() - start
    assert bool(jnp.isfinite(out).all())
    memory = compiled.memory_analysis().temp_size_in_bytes / 2**20
    print(f"causal 32,768, one head of 64: {took:.1f} s, {memory:,.0f} MiB of temporaries", flush=True)
    return {"case": "causal 32768", "seconds": took, "temporary_mebibytes": memory}


def main():
    """Run all cases and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="lengths of an eighth, to see that it runs")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = [(n, t, length // 8 if options.quick else length, h, lay) for n, t, length, h, lay in CASES]
    lines = [run(case, options.times) for case in cases]
    if not options.quick:
        lines.append(longest())
    versions = {}
    for name in ("jax", "torch"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    found = {
        "lines": lines,
        "versions": versions,
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "allocator": os.environ.get("GLIBC_TUNABLES", "glibc's defaults"),
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
