"""Overrides of a configuration by dotted keys, typed and with the nearest name where one is unknown."""

import contextlib
import dataclasses
import io
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from flaxmask.names import nearest

T = TypeVar("T")


class Refused(ValueError):
    """Bad input, said in one line that names the thing and the mend."""


def keys(config: Any, before: str = "") -> list[str]:
    """Dotted keys of every leaf of nested dataclasses."""
    found = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = f"{before}{field.name}"
        found += keys(value, f"{name}.") if dataclasses.is_dataclass(value) else [name]
    return found


def apply(config: T, changes: Mapping[str, Any]) -> T:
    """The configuration with the values of some dotted keys replaced; a string is read as the key's type.

    Raises:
      Refused: an unknown key, a value that is not of its type, or one that the configuration refuses.
    """
    for key, value in changes.items():
        if key not in keys(config):
            raise Refused(f"no setting is called {key!r}; {nearest(key, keys(config))}")
        config = _replace(config, key.split("."), value, key)
    return config


def _replace(config: Any, path: list[str], value: Any, key: str) -> Any:
    """One leaf replaced, and what holds it made anew, so that it checks itself."""
    name, *rest = path
    if rest:
        value = _replace(getattr(config, name), rest, value, key)
    elif isinstance(value, str):
        value = _read(typing.get_type_hints(type(config))[name], value, key)
    try:
        return dataclasses.replace(config, **{name: value})
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"{key}={value}: {error}") from error


def _read(kind: Any, text: str, key: str) -> Any:
    """A value of type `kind` from text, by tyro."""
    import tyro

    silence = io.StringIO()  # tyro explains at length; here one line is wanted
    try:
        with contextlib.redirect_stderr(silence), contextlib.redirect_stdout(silence):
            return tyro.cli(kind, args=[text])
    except SystemExit:
        pass
    choices = [str(choice) for choice in typing.get_args(kind)] if typing.get_origin(kind) is typing.Literal else []
    expected = (
        f"expected one of {', '.join(choices)}; {nearest(text, choices)}" if choices else f"expected {_name(kind)}"
    )
    raise Refused(f"{key}={text}: {expected}")


def _name(kind: Any) -> str:
    """A type as people write it."""
    parts = [_name(part) for part in typing.get_args(kind)]
    if parts:
        return " or ".join(parts)
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))
