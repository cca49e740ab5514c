"""Attention over masks: ours beside what a user would pick instead, in one run.

    python benchmarks/attention.py [--quick] [--out benchmarks/results/attention.json]

Every figure is of the fastest of several calls in one process; ratios hold between machines, seconds do not. Forward
alone, and forward with backward. torch is compared where it is installed: its fused kernel with a boolean mask and,
where the mask is that, with its causal flag; its `flex_attention`, compiled with the mask's blocks made beforehand
(on CPU it has no backward pass). Float32 on CPU, bfloat16 elsewhere.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from flaxmask import Tokens, attention, masks
from flaxmask.attention.call import Call
from flaxmask.masks.positions import PositionMask

CASES = (
    # name, formula, length, heads, layout
    ("causal 1024", "causal & segment", 1024, 4, "rows"),
    ("causal 2048", "causal & segment", 2048, 4, "rows"),
    ("causal 4096", "causal & segment", 4096, 4, "rows"),
    ("causal, window 256, 8192", "causal & segment & window(256)", 8192, 4, "rows"),
    ("packed segments of 256 in 8192", "causal & segment", 8192, 4, "packed"),
)
LONG_CASES = (
    ("causal 32768", "causal & segment", 32_768, 4, "rows"),
    ("causal, window 256, 32768", "causal & segment & window(256)", 32_768, 4, "rows"),
    ("packed segments of 256 in 32768", "causal & segment", 32_768, 4, "packed"),
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
    """Of the fastest of several calls, once an allocator has the pages that it asks for: each peer in its best form."""
    for _ in range(3):
        call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


Calls = dict[str, Callable[[], object]]


def ours(implementation: str, mask: masks.Mask, held: Tokens, arrays) -> Calls:
    """One of our implementations, compiled."""
    held = jax.device_put(held)

    def loss(query, key, value, held):
        out = attention.dot_product_attention(query, key, value, mask, held, held, implementation=implementation)
        return jnp.sum(out.astype(jnp.float32) ** 2)

    forward, both = jax.jit(loss), jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    return {
        "forward": lambda: jax.block_until_ready(forward(*arrays, held)),
        "forward and backward": lambda: jax.block_until_ready(both(*arrays, held)),
    }


def able(mask: masks.Mask, held: Tokens, array) -> list[str]:
    """Implementations to compare here: those that may be chosen on this device, and those that were made for it."""
    platform = jax.default_backend()
    call = Call(array, array, mask, held, held, None, 0.0, platform)
    names = [name for name, i in attention.IMPLEMENTATIONS.items() if not i.refuses(call)]
    return [name for name in names if name != "reference" and not (platform == "cpu" and name == "splash")]


def torch_peers(mask: masks.Mask, held: Tokens, arrays) -> dict[str, Calls]:
    """Torch's attentions."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if arrays[0].dtype == jnp.bfloat16 else torch.float32
    inputs = [
        torch.tensor(np.asarray(x, np.float32), dtype=dtype, device=device).transpose(1, 2).contiguous() for x in arrays
    ]
    segments, positions = (torch.tensor(np.asarray(x)[0], device=device) for x in (held.segments, held.positions))
    terms = mask.terms if isinstance(mask, masks.And) else (mask,)

    def visible(b, h, q, k):
        seen = segments[q] == segments[k]
        for term in terms:
            if isinstance(term, PositionMask):
                seen = seen & term.cells(positions[q], positions[k])
        return seen

    length = held.shape[1]
    blocks = create_block_mask(visible, None, None, length, length, device=device)
    flex = torch.compile(flex_attention)
    fused = torch.nn.functional.scaled_dot_product_attention
    how: dict[str, Callable] = {"torch flex_attention": lambda q, k, v: flex(q, k, v, block_mask=blocks)}
    if length <= 8192:
        at = torch.arange(length, device=device)
        seen = visible(0, 0, at[:, None], at[None, :])[None, None]
        how["torch, boolean mask"] = lambda q, k, v: fused(q, k, v, attn_mask=seen)
    if str(mask) == "causal & segment" and held.layout == "rows":
        how["torch, causal flag"] = lambda q, k, v: fused(q, k, v, is_causal=True)

    def run(attend, backward: bool):
        for x in inputs:
            x.grad = None
            x.requires_grad_(backward)
        loss = (attend(*inputs).float() ** 2).sum()
        if backward:
            loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return {
        name: {
            "forward": lambda attend=attend: run(attend, False),
            **(
                {"forward and backward": lambda attend=attend: run(attend, True)}
                if device == "cuda" or "flex" not in name
                else {}
            ),
        }
        for name, attend in how.items()
    }


def run(case, times: int) -> dict[str, object]:
    """One line of the table: milliseconds of each, and ratios to the best of ours."""
    name, text, length, heads, layout = case
    mask, held = masks.parse(text), tokens(length, layout)
    rng = np.random.default_rng(0)
    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    arrays = [jnp.asarray(rng.normal(size=(1, length, heads, SIZE)), dtype) for _ in range(3)]
    names = able(mask, held, arrays[0])
    peers = {name: ours(name, mask, held, arrays) for name in names}
    try:
        peers |= torch_peers(mask, held, arrays)
    except ImportError:
        print("torch is not installed: left out")
    line: dict[str, object] = {"case": name, "mask": text}
    for what in ("forward", "forward and backward"):
        found = {peer: 1e3 * seconds(calls[what], times) for peer, calls in peers.items() if what in calls}
        best = min(names, key=lambda name: found[name])
        ratios = {peer: found[peer] / found[best] for peer in found if peer != best}
        shown = ", ".join(f"{peer} {value:,.2f} ms" for peer, value in found.items())
        print(
            f"{name}, {what}: {shown}; {best} is " + ", ".join(f"{r:.2f}× {p}" for p, r in ratios.items()), flush=True
        )
        line[what] = {"milliseconds": found, f"{best}_is_times_as_fast_as": ratios}
    return line


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
    parser.add_argument("--case", nargs="+", choices=[name for name, *_ in CASES], help="these alone")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = [(n, t, length // 8 if options.quick else length, h, lay) for n, t, length, h, lay in CASES]
    if options.case:
        cases = [case for case in cases if case[0] in options.case]
    elif jax.default_backend() != "cpu" and not options.quick:
        cases += LONG_CASES
    lines = [run(case, options.times) for case in cases]
    if not options.quick and not options.case:
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
        "device": f"{platform.machine()}, {os.cpu_count()} cores; jax runs on {jax.devices()[0].device_kind}",
        "allocator": os.environ.get("GLIBC_TUNABLES", "glibc's defaults"),
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
