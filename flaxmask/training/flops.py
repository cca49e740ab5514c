"""The arithmetic of a function: its matrix products, counted before a compiler has rewritten them."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def count_flops(function: Callable, *arguments: Any) -> float:
    """Floating-point operations of all matrix products: 2·m·n·k each, those inside a scan as often as it runs.

    Compilers count the body of a loop once, so a recurrence would look cheap. Of a loop whose end is found at run time
    one turn is counted here too. Of a function over several devices (pmap) all of them are counted.

    >>> count_flops(lambda x: jax.lax.scan(lambda y, _: (y @ y, None), x, length=3)[0], np.ones((4, 4)))
    384.0
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            summed = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2.0 * summed * math.prod(equation.outvars[0].aval.shape)
        inside = [_count(inner) for inner in _inner(equation.params)]
        if inside:
            total += _times(equation.params) * (max(inside) if equation.primitive.name == "cond" else sum(inside))
    return total


def _times(parameters: dict[str, Any]) -> int:
    """How often an operation runs what is inside it: turns of a scan, devices of a pmap."""
    mesh = parameters.get("mesh")
    return parameters.get("length", 1) * parameters.get("global_axis_size", getattr(mesh, "size", 1))


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    """Programs inside an operation."""
    for value in parameters.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part
