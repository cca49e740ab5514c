"""Overrides of a configuration by dotted keys, typed and with the nearest name where one is unknown."""

import contextlib
import dataclasses
import io
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from flaxmask.names import Refused, nearest

T = TypeVar("T")


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
            raise Refused(f"no setting is called {key!r}; {nearest(key, keys(config))}")
    return _replace(config, changes, "")


def _replace(config: Any, changes: Mapping[str, Any], before: str) -> Any:
    """A dataclass made anew, so that it checks itself; `before` is its own dotted key."""
    values = {}
    for field in dataclasses.fields(config):
        key, old = f"{before}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(old):
            values[field.name] = _replace(old, changes, f"{key}.")
        elif key in changes:
            new = changes[key]
            values[field.name] = (
                _read(typing.get_type_hints(type(config))[field.name], new, key) if isinstance(new, str) else new
            )
    try:
        return dataclasses.replace(config, **values)
    except ValueError as error:
        said = " ".join(f"{key}={value}" for key, value in changes.items() if key.startswith(before))
        raise error if isinstance(error, Refused) else Refused(f"{said}: {error}") from error


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
