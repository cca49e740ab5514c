"""What the documentation adds works as it stands there."""

import json
import re
from pathlib import Path

import pytest

from flaxmask import commands, experiment
from flaxmask.masks.parse import PRIMITIVES
from flaxmask.names import Refused

PAGE = Path(__file__).parent.parent / "docs" / "adding.md"
BLOCKS = re.findall(r"^## (.+?)$|^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, list[str]]:
    """By section, its code."""
    found: dict[str, list[str]] = {}
    for section, code in BLOCKS:
        if section:
            found[section] = []
        else:
            found[[*found][-1]].append(code)
    return found


def test_each_takes_less_than_30_lines():
    for section, parts in blocks().items():
        assert 0 < sum(len([line for line in code.splitlines() if line.strip()]) for code in parts[:1]) < 30, section


@pytest.mark.slow
def test_every_block_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "adding"}
    try:
        for parts in blocks().values():
            for code in parts:
                exec(compile(code, str(PAGE), "exec"), names)
    finally:
        PRIMITIVES.pop("diagonal", None)
    out = capsys.readouterr().out
    assert "obeys what it declares" in out
    assert "■ · ■ · ·\n" in out, "the mask without its diagonal"


def test_a_checkpoint_is_read_with_the_masks_of_its_page(tmp_path, monkeypatch):
    mine, checkpoint = tmp_path / "masks_of_mine", tmp_path / "run" / "checkpoints" / "far-0"
    mine.mkdir()
    checkpoint.mkdir(parents=True)
    settings = {"experiment": "horizon", "rows": {"far": {"mask": {"decoder": "causal & segment & ~diagonal(1)"}}}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    monkeypatch.setattr(experiment, "EXPERIMENTS", mine)
    with pytest.raises(Refused, match=r"row far: .*'diagonal'.*; no page 'horizon' is here, where masks"):
        experiment.cell_of(checkpoint)
    parts = blocks()
    (mine / "horizon.py").write_text(parts["A mask"][0] + parts["An experiment"][0])
    try:
        _, _, _, config = experiment.cell_of(checkpoint)
    finally:
        PRIMITIVES.pop("diagonal", None)
    assert config.mask.decoder == "causal & segment & ~diagonal(1)"


@pytest.mark.slow
def test_the_page_of_the_page_fills_a_table(tmp_path, monkeypatch):
    mine = tmp_path / "pages_of_mine"
    mine.mkdir()
    parts = blocks()
    (mine / "horizon.py").write_text(parts["An experiment"][0])
    monkeypatch.setattr(commands, "EXPERIMENTS", mine)
    filled = commands.run_experiment("horizon", "smoke", rows=["everything", "one token"], workdir=tmp_path / "run")
    [table] = filled.tables
    assert [row[0] for row in table.rows] == ["everything", "three tokens", "one token"]
    assert table.rows[1][1] == "–"
    assert table.rows[0][4] == table.rows[2][4] == "0", "no leaks"
