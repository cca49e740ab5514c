"""Where a result comes from. jax is imported when asked, so that whoever names this module starts without it."""

import datetime
import functools
import importlib.metadata
import math
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import flaxmask


def provenance() -> dict[str, Any]:
    """Where a result that is begun now comes from."""
    import jax

    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
    versions |= {"python": sys.version.split()[0], "flaxmask": flaxmask.__version__}
    return {
        "git": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "versions": versions,
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **_load(),
    }


_MINUTE = 60.0
_own = [time.monotonic(), time.process_time(), 0.0]
"""When this process's load was last computed, its CPU time then, and the load."""


def _load() -> dict[str, float]:
    """The machine's load average of the last minute, what of it is this process's own, and the number of CPUs.

    The cell before is in the average too: its CPU time is averaged as the system averages what runs, so that the rest
    is other work. Nothing where the system does not say.
    """
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):
        return {}
    then, spent, own = _own
    _own[:2] = time.monotonic(), time.process_time()
    kept = math.exp((then - _own[0]) / _MINUTE)
    _own[2] = own * kept + (1 - kept) * (_own[1] - spent) / max(_own[0] - then, 1e-9)
    return {"load": round(load, 2), "own_load": round(_own[2], 2), "cpus": os.cpu_count() or 1}


@functools.cache
def _git(*arguments: str) -> str:
    """What git says of the source tree; nothing where there is no git or no repository."""
    try:
        root = Path(__file__).parent.parent
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
