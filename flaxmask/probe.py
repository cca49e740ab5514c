"""Rows that train nothing: a function beside their page gives the figures. No jax here."""

import dataclasses
import importlib.util
import re
from typing import Any, NamedTuple

from flaxmask.names import Refused


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """What is measured where no model is trained."""

    function: str | None = None
    """MODULE.NAME in `experiments/`, called with the two texts below; gives a `Probed`. None: a model is trained."""
    subject: str = ""
    variant: str = ""

    def __post_init__(self):
        if self.function is not None and not re.fullmatch(r"\w+\.\w+", self.function):
            raise Refused(f"probe.function={self.function}: expected MODULE.NAME, of a module in experiments/")


class Probed(NamedTuple):
    """What a probe gives back.

    Attributes:
      metrics: by their names in `reporting.metrics`.
      audit: what an audit found, as text; "" where there was none.
    """

    metrics: dict[str, float]
    audit: str = ""


def probed(config: ProbeConfig) -> Probed:
    """The figures of a row.

    Raises:
      Refused: there is no such function.
    """
    module, name = str(config.function).split(".")
    wanted = f"experiments.{module}"
    if importlib.util.find_spec(wanted) is None:
        raise Refused(f"probe.function={config.function}: no module {module} is in experiments/")
    found: dict[str, Any] = vars(importlib.import_module(wanted))
    if not callable(found.get(name)):
        raise Refused(f"probe.function={config.function}: experiments/{module}.py has no function {name}")
    return found[name](config.subject, config.variant)
