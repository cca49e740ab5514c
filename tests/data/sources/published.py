"""Where tests find the published files; nothing is ever downloaded here."""

import pytest

from flaxmask.data.sources.files import File, folders


def need(*files: File) -> None:
    """Skips the test where a file is not at `$FLAXMASK_DATA` or in ../shared/data."""
    for file in files:
        if not any((folder / file.path).exists() for folder in folders()):
            pytest.skip(f"{file} is not in $FLAXMASK_DATA, nor in ../shared/data")
