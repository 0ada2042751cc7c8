"""Constants of modules: chosen by a paper, by measurement or by taste, and held nowhere else."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import operator
import re
from types import ModuleType
from typing import Any

import numpy as np

from tests.reference.golden import golden_text
from tests.reference.package import modules

OF_THE_SYSTEM = {"detkit.training.staged.vector_file._CANNOT_RESERVE"}  # numbers of errors differ
ON_ONE_LINE = 150


def names(module: ModuleType) -> list[str]:
    """Return the names in capitals that a module or a class of it gives a value itself."""
    found: list[str] = []
    for statement in ast.parse(inspect.getsource(module)).body:
        inside = f"{statement.name}." if isinstance(statement, ast.ClassDef) else ""
        for each in statement.body if isinstance(statement, ast.ClassDef) else [statement]:
            targets: list[ast.expr] = []
            if isinstance(each, ast.Assign):
                targets += each.targets
            elif isinstance(each, ast.AnnAssign):
                targets.append(each.target)
            parts = [part for target in targets for part in getattr(target, "elts", [target])]
            found += [inside + target.id for target in parts if isinstance(target, ast.Name)]
    return [name for name in found if re.fullmatch(r"(\w+\.)?_?[A-Z][A-Z0-9_]*", name)]


def said(value: Any) -> str:
    """Return a constant as text that is the same on every machine."""
    match value:
        case bool() | int() | str() | bytes() | None:
            text = repr(value)
        case float():  # the last bits of a computed one are the machine's
            text = f"{value:.12g}"
        case dict():
            text = "{" + ", ".join(f"{said(key)}: {said(part)}" for key, part in value.items()) + "}"
        case tuple() | list():
            text = "(" + ", ".join(map(said, value)) + ")"
        case set() | frozenset():
            text = "{" + ", ".join(sorted(map(said, value))) + "}"
        case re.Pattern():
            text = f"re {said(value.pattern)}"
        case np.ndarray() | np.generic():
            text = f"{value.dtype} {said(value.tolist())}"
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            text = f"{type(value).__name__} {said(parts)}"
        case _:
            text = str(getattr(value, "__qualname__", type(value).__name__))
    return text


def lines_of(name: str, value: Any) -> str:
    """Return a constant as a line, or a long one as a line for each of its parts."""
    line = f"{name} = {said(value)}\n"
    if len(line) <= ON_ONE_LINE or not isinstance(value, (dict, tuple, list)):
        return line
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return "".join(f"{name}[{said(key)}] = {said(part)}\n" for key, part in parts)


def test_constants_are_the_golden_ones() -> None:
    found = "".join(
        lines_of(full, operator.attrgetter(name)(module))
        for module in modules()
        for name in names(module)
        if (full := f"{module.__name__}.{name}") not in OF_THE_SYSTEM
    )
    assert found == golden_text("constants.txt", found)
