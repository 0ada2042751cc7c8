"""Default values of public functions: a change of one changes what callers get who leave it out."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from tests.reference.golden import golden_text
from tests.reference.package import modules

PLAIN = (bool, int, float, str, tuple, type(None))


def functions(module: ModuleType) -> dict[str, Any]:
    """Return the public functions of a module, and those of its public classes."""
    found = {}
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            members = {key: getattr(part, "__func__", part) for key, part in dict(vars(value)).items()}
            found |= {
                f"{name}.{key}": part
                for key, part in members.items()
                if inspect.isfunction(part) and (key == "__init__" or not key.startswith("_"))
            }
        elif callable(value):
            found[name] = value
    return found


def test_default_arguments_are_the_golden_ones() -> None:
    lines = []
    for module in modules():
        for name, function in functions(module).items():
            try:
                parameters = inspect.signature(function).parameters.values()
            except (TypeError, ValueError):  # a class that is made of C, a compiled loop
                continue
            plain = [
                f"{parameter.name}={parameter.default!r}"
                for parameter in parameters
                if parameter.default is not parameter.empty and isinstance(parameter.default, PLAIN)
            ]
            if plain:
                lines.append(f"{module.__name__}.{name}: {', '.join(plain)}\n")
    found = "".join(lines)
    assert found == golden_text("default_arguments.txt", found)
