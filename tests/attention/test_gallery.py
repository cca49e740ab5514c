from pathlib import Path

import pytest

from flaxmask.attention import gallery

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_the_page_is_what_its_command_writes():
    stale = "docs/masks.md is stale: run `python -m flaxmask.attention.gallery`"
    assert (ROOT / gallery.PAGE).read_text(encoding="utf-8") == gallery.page(), stale
