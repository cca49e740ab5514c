"""Whether a ratio has fallen: a part of each benchmark, run again, beside the figures that are kept.

    python -m benchmarks.guard [attention data training]

Ratios hold between machines as seconds do not, so a fall of more than 15 % on any machine is worth a look; each is
named, and the exit code is 1. The machine should be idle: other work takes more from one side than from the other. The
allocator is that of `run.py`, as it was for the kept figures: with another one xla loses up to half.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import run

ROOT = Path(__file__).parent.parent
FALL = 0.15
ALLOCATOR = {"GLIBC_TUNABLES": run.MALLOC}
RATIOS = ("times_as_fast", "ours_to_it", "of_products_alone")
"""Parts of the names of ratios; more is better in all."""
COMMANDS = {
    "attention": ("attention.py", "attention_cpu.json", ["--case", "causal 1024", "causal 2048"]),
    "data": ("data.py", "data.json", []),
    "training": ("training.py", "training.json", ["--size", "tiny", "--layout", "bucketed"]),
}
"""Of each benchmark the script, the kept figures, and how to run a part of it in a minute or two."""


def ratios(found: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """All ratios of a benchmark's figures by their place: keys, and of what is listed its texts.

    >>> dict(ratios([{"model": "torch", "ours_to_it": 2.0, "seconds": 1.0}]))
    {('model=torch', 'ours_to_it'): 2.0}
    """
    if isinstance(found, list):
        for one in found:
            texts = [f"{key}={value}" for key, value in one.items() if isinstance(value, str)] if one else []
            yield from ratios(one, (*place, *texts))
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from ratios(value, (*place, key))
    elif isinstance(found, float) and any(part in key for key in place for part in RATIOS):
        yield place, found


def fallen(kept: Any, now: Any) -> list[str]:
    """What has fallen by more than `FALL`, a line each; what is not measured now is not looked at."""
    before = dict(ratios(kept))
    return [
        f"{', '.join(place)}: {before[place]:.2f} before, {ratio:.2f} now"
        for place, ratio in ratios(now)
        if place in before and ratio < (1 - FALL) * before[place]
    ]


def main() -> int:
    """Run, compare, say; 1 where a ratio fell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*COMMANDS, []], default=[])
    said = []
    for name in parser.parse_args().names or COMMANDS:
        script, figures, how = COMMANDS[name]
        kept = json.loads((ROOT / "benchmarks" / "results" / figures).read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as room:
            out = Path(room) / "now.json"
            command = [sys.executable, str(ROOT / "benchmarks" / script), *how, "--out", str(out)]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=ALLOCATOR | os.environ)
            now = json.loads(out.read_text(encoding="utf-8"))
        lines = fallen(kept, now)
        print(f"{name}: {len(list(ratios(now)))} ratios, {len(lines)} fell by more than {100 * FALL:.0f} %", flush=True)
        said += [f"{name}: {line}" for line in lines]
    print("\n".join(said))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
