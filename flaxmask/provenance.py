"""Where a result comes from. jax is imported when asked, so that whoever names this module starts without it."""

import datetime
import functools
import importlib.metadata
import shlex
import subprocess
import sys
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
    }


@functools.cache
def _git(*arguments: str) -> str:
    """What git says of the source tree; nothing where there is no git or no repository."""
    try:
        root = Path(__file__).parent.parent
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
