"""Overrides of a configuration by dotted keys, typed and with the nearest name where one is unknown."""

import contextlib
import dataclasses
import io
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from flaxmask import foreign
from flaxmask.names import Refused, nearest

T = TypeVar("T")


LARGEST = 2**31 - 1
"""What indices of arrays hold."""
SHOWN = 60
"""Characters of a value that a message shows."""


def keys(config: Any, before: str = "") -> list[str]:
    """Dotted keys of every leaf of nested dataclasses."""
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = f"{before}{field.name}"
        found += keys(value, f"{name}.") if dataclasses.is_dataclass(value) else [name]
    return found


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted keys."""
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def apply(config: T, changes: Mapping[str, Any]) -> T:
    """The configuration with the values of some dotted keys replaced; a string is read as the key's type.

    All changes are made at once: values that fit only together may be given together.

    Raises:
      Refused: an unknown key, a value that is not of its type, or one that the configuration refuses.
    """
    for key in changes:
        if key not in keys(config):
            raise Refused(f"no setting is called {_short(key)!r}; {nearest(key, keys(config))}")
    return _replace(config, changes, "")


def _replace(config: Any, changes: Mapping[str, Any], before: str) -> Any:
    """A dataclass made anew, so that it checks itself; `before` is its own dotted key."""
    values = {}
    for field in dataclasses.fields(config):
        key, old = f"{before}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(old):
            values[field.name] = _replace(old, changes, f"{key}.")
        elif key in changes:
            values[field.name] = _value(typing.get_type_hints(type(config))[field.name], changes[key], key)
    try:
        return dataclasses.replace(config, **values)
    except ValueError as error:
        said = " ".join(f"{key}={_short(str(value))}" for key, value in changes.items() if key.startswith(before))
        raise error if isinstance(error, Refused) else Refused(f"{said}: {error}") from error


def _value(kind: Any, new: Any, key: str) -> Any:
    """A new value of a key, read where it is text and checked where it is not."""
    value = _read(kind, new, key) if isinstance(new, str) else new
    if wrong := foreign.fault(value, kind):
        raise Refused(f"{key}: {wrong}")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise Refused(f"{key}={value}: expected at most {LARGEST}")
    return value


def _read(kind: Any, text: str, key: str) -> Any:
    """A value of type `kind` from text, by tyro; a text that is wanted stands for itself, whatever it begins with."""
    import tyro

    choices = typing.get_args(kind)
    if kind is str or (str in choices and text != "None"):
        return text
    silence = io.StringIO()  # tyro explains at length; here one line is wanted
    try:
        with contextlib.redirect_stderr(silence), contextlib.redirect_stdout(silence):
            return tyro.cli(kind, args=[text])
    except (SystemExit, ValueError):
        pass
    literal = next((one for one in (kind, *choices) if typing.get_origin(one) is typing.Literal), None)
    names = [str(choice) for choice in typing.get_args(literal)] + ["None"] * (type(None) in choices)
    names = ["True", "False"] if kind is bool else names
    if literal or kind is bool:
        expected = f"one of {', '.join(names)}; {nearest(text, names)}"
    else:
        expected = foreign.kind_name(kind)
    raise Refused(f"{key}={_short(text)}: expected {expected}")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
