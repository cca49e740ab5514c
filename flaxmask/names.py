"""How bad input is refused."""

import difflib
from collections.abc import Iterable

SHOWN = 40
"""Names that a message lists at most."""


class Refused(ValueError):
    """Bad input, said in one line that names the thing and the mend."""


class Failed(RuntimeError):
    """What the machine could not do, said in one line that names the thing and the mend."""


class Missing(Refused):
    """Data that cannot be had here; whatever does not need it can go on."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was probably meant."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = [name if name.isprintable() else repr(name) for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"known: {', '.join(shown)}{more}"
