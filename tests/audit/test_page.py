"""The page's example does what the page says."""

import contextlib
import io
import re
from pathlib import Path

PAGE = (Path(__file__).parent.parent.parent / "docs" / "audit.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_shows():
    [program], [wanted] = (re.findall(f"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("python", "text"))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    assert printed.getvalue() == wanted
