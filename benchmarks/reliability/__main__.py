"""All trials of reliability, one after another, and the table of what was reached.

    python -m benchmarks.reliability [TOPIC ...]

Figures are kept in `benchmarks/results/reliability.json`, with versions and machine; the table in `docs/reliability.md`
is made of them. Named topics are tried anew, the figures of others are kept.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.reliability import Outcome

TOPICS = ("kills", "sharing", "hosts", "determinism", "rot", "disk", "nonfinite", "memory", "input")
ROOT = Path(__file__).parent.parent.parent
FIGURES, PAGE = ROOT / "benchmarks" / "results" / "reliability.json", ROOT / "docs" / "reliability.md"
HEAD = "| what is done to a run | asked | reached | |\n| --- | --- | --- | --- |\n"
END = "\n<!-- end of the table -->"


def tried(topic: str) -> list[Outcome]:
    """What the trials of a topic gave, each in a folder of its own."""
    found = []
    for trial in importlib.import_module(f"benchmarks.reliability.{topic}").TRIALS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as room:
            outcomes = [o._replace(reached=o.reached.replace(room, "…")) for o in trial(Path(room))]
        for outcome in outcomes:
            print(f"{'held' if outcome.held else 'NOT HELD'}: {outcome.what}: {outcome.reached}", flush=True)
        print(f"{topic}: {trial.__name__}: {time.perf_counter() - start:.0f} s", flush=True)
        found += outcomes
    return found


def page(figures: dict[str, Any], text: str) -> str:
    """The page with the table of these figures in the place of the one that it has."""
    before, rest = text.split(HEAD)
    outcomes = [Outcome(*outcome) for topic in TOPICS for outcome in figures["outcomes"].get(topic, ())]
    rows = [f"| {o.what} | {o.asked} | {o.reached} | {'held' if o.held else '**not held**'} |" for o in outcomes]
    return before + HEAD + "".join(f"{row}\n" for row in rows) + END + rest.split(END)[1]


def main() -> int:
    """Try, print, keep; 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", choices=[*TOPICS, []], default=[])
    topics = parser.parse_args().topics or TOPICS
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {"outcomes": {}}
    figures["outcomes"] |= {topic: tried(topic) for topic in topics}
    figures["versions"] = {name: importlib.metadata.version(name) for name in ("jax", "flax", "orbax-checkpoint")}
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}"
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(figures, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0 if all(outcome.held for topic in topics for outcome in figures["outcomes"][topic]) else 1


if __name__ == "__main__":
    sys.exit(main())
