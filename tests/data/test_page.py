"""The page on data: what it lists is what there is, and its example runs."""

import re
from pathlib import Path

from flaxmask.data.config import CATALOGUE, DataConfig, LayoutName, PackerName, TaskName
from flaxmask.data.sources import names

PAGE = (Path(__file__).parent.parent.parent / "docs" / "data.md").read_text(encoding="utf-8")


def named(text: str) -> set[str]:
    """What stands in code marks, outside of blocks of code."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def test_every_data_set_layout_packer_and_task_is_on_the_page():
    listed = named(PAGE)
    assert listed >= set(CATALOGUE)
    for choices in (TaskName, LayoutName, PackerName):
        assert listed >= set(choices.__args__)
    assert set(CATALOGUE) >= {name for name in names() if "/" in name}, "ours are known by their tasks"
    settings = {name.removeprefix("data.") for name in listed if re.fullmatch(r"data\.\w+", name)}
    assert settings <= set(DataConfig.__dataclass_fields__)


def test_the_example_runs(capsys):
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    assert "PlanReport(updates=" in capsys.readouterr().out
