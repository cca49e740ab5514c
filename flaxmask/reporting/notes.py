"""What the figures of a table rest on, a line each."""

import math
from collections.abc import Sequence
from typing import Any

from flaxmask.reporting.metrics import METRICS, TIMES


def notes(settings: dict[str, Any], results: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[str]:
    """What the figures of a table's columns rest on."""
    if not results:
        return ["no cell is finished yet"]
    seeds = sorted({line["seed"] for line in results})
    origins = [line["provenance"] for line in results]
    versions = lambda of: ", ".join(f"{name} {of['versions'][name]}" for name in ("python", "jax", "flax"))
    machines = [f"{len(of['devices'])} device(s): {', '.join(of['devices'][:1])}; {versions(of)}" for of in origins]
    commits = [f"commit {of['git'][:12] or 'unknown'}{' with changes' if of['dirty'] else ''}" for of in origins]
    counts = ("truncated_examples", "skipped_examples", "unknown_tokens")
    left_out = [
        f"{row}: "
        + ", ".join(
            f"{metrics[name]:,.0f} {METRICS[name].unit} {METRICS[name].label}" for name in counts if metrics.get(name)
        )
        for row, metrics in {line["row"]: line["metrics"] for line in results}.items()
        if any(metrics.get(name) for name in counts)
    ]
    # Most rows read the same data: said once, of all.
    said = dict.fromkeys(text.split(": ", 1)[1] for text in left_out)
    cached = sum(line["metrics"].get("compile_cached", 0) for line in results)
    read = (
        [f"{_counted(f'{cached:.0f}', 'programs')} came from the compilation cache: reading is what was timed"]
        if cached
        else []
    )
    spread = "mean ± standard deviation over" if len(seeds) > 1 else "one run, no spread:"
    return [
        f"scale {settings['scale']}; {settings['parallel']}; "
        f"{spread} seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
        *dict.fromkeys(machines),
        *dict.fromkeys(commits),
        *dict.fromkeys(f"`{of['command']}`" for of in origins),
        *_budgets(results),
        *(f"of the data: {text}" for text in said),
        *_skipped(results),
        *read,
        *(_loaded(results) if set(columns) & set(TIMES) else ()),
    ]


def _loaded(results: Sequence[dict[str, Any]]) -> list[str]:
    """Cells that were timed while others kept more than half of the CPUs busy, where that was written down."""
    others = {}
    for line in results:
        of = line["provenance"]
        others[f"{line['row']}, seed {line['seed']}"] = of.get("load", 0.0) - of.get("own_load", 0.0), of.get("cpus", 1)
    busy = [f"{cell} ({load:.1f} of {cpus} CPUs)" for cell, (load, cpus) in others.items() if load > cpus / 2]
    return [f"timed while other work ran, by the load before: {'; '.join(busy)}"] * bool(busy)


def _skipped(results: Sequence[dict[str, Any]]) -> list[str]:
    """Updates that were left out of each cell, where there were any."""
    lost = {f"{line['row']}, seed {line['seed']}": line["metrics"].get("skipped_updates", 0) for line in results}
    return [
        f"{cell}: {_counted(f'{count:,.0f}', 'updates')} left out, whose loss or gradients were not finite"
        for cell, count in lost.items()
        if count
    ]


BUDGET = {"updates": "updates", "epochs": "epochs", "real_tokens": "real tokens", "flops": "floating-point operations"}
"""What training took, whatever the machine."""


def _budgets(results: Sequence[dict[str, Any]]) -> list[str]:
    """What every row was given: said once where it is the same."""
    said = {}
    for line in results:
        metrics = line["metrics"] | {"epochs": line.get("config", {}).get("training", {}).get("epochs", math.nan)}
        known = [name for name in BUDGET if math.isfinite(metrics.get(name, math.nan)) and metrics[name]]
        said[line["row"]] = ", ".join(_counted(_short(metrics[name]), BUDGET[name]) for name in known)
    if len(set(said.values())) == 1:
        text = next(iter(said.values()))
        return [f"budget of {'every row' if len(said) > 1 else 'the row'}: {text}"] * bool(text)
    return [f"budget of {row}: {text}" for row, text in said.items() if text]


def _counted(number: str, what: str) -> str:
    return f"{number} {what.removesuffix('s') if number == '1' else what}"


def _short(value: float) -> str:
    """Three digits and a power of ten that has a name.

    >>> [_short(value) for value in (7, 4321, 2.5e12)]
    ['7', '4,321', '2.5 T']
    """
    for power, name in ((12, "T"), (9, "G"), (6, "M")):
        if value >= 10**power:
            return f"{value / 10**power:.3g} {name}"
    return f"{value:,.0f}"
