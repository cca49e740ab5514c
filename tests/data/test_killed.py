"""A process that reads batches is killed again and again; another goes on from the last state that it wrote."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from flaxmask.data.loader import batches
from tests import toy
from tests.data.test_loader import digest, plan_of

KILLS = 20
PROGRAM = """
import json, sys, time
from pathlib import Path
from flaxmask.data.loader import batches
from tests import toy
from tests.data.test_loader import digest, plan_of

path, name = Path(sys.argv[1]), sys.argv[2]
data = toy.examples(400)
stream = batches(data, plan_of(name, data, epochs=20))
lines = [line for line in path.read_text().split("\\n")[:-1]] if path.exists() else []
if lines:
    stream.set_state(json.loads(lines[-1])["after"])
path.write_text("".join(line + "\\n" for line in lines))  # without half a line at its end
with path.open("a") as file:
    for batch in stream:
        time.sleep(0.002)
        file.write(json.dumps({"batch": digest([batch]), "after": stream.get_state()}) + "\\n")
        file.flush()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["packed, pooled", "packed, online", "bucketed"])
def test_killed_20_times_the_stream_is_the_same(tmp_path, name):
    data = toy.examples(400)
    wanted = [digest([batch]) for batch in batches(data, plan_of(name, data, epochs=20))]
    path, rng = tmp_path / "seen.jsonl", np.random.default_rng(0)
    kills = 0
    while kills < KILLS:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), name], env=os.environ | {"PYTHONPATH": "."}
        )
        before = path.read_text().count("\n") if path.exists() else 0
        while process.poll() is None and not (path.exists() and path.read_text().count("\n") > before):
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.02))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
    assert kills == KILLS, "the stream must be longer than the kills"
    subprocess.run([sys.executable, "-c", PROGRAM, str(path), name], env=os.environ | {"PYTHONPATH": "."}, check=True)
    seen = [json.loads(line)["batch"] for line in path.read_text().splitlines()]
    assert seen == wanted
