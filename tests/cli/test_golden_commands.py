"""The command line as it was agreed on: flags, types, bounds, defaults and explanations of every command."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import typer

from detkit.cli.app import app
from tests.reference.golden import golden_text

SHOWN = ("param_decls", "metavar", "min", "max", "is_flag", "help")


def lines_of(app: typer.Typer, name: str) -> Iterator[str]:
    """Yield a line for each command and parameter, as the functions declare them."""
    for group in app.registered_groups:
        yield from lines_of(group.typer_instance, f"{name} {group.name or group.typer_instance.info.name}")
    for command in app.registered_commands:
        yield f"{name} {command.name or command.callback.__name__}: {inspect.getdoc(command.callback)}\n"
        hints = get_type_hints(command.callback, include_extras=True)
        for parameter in inspect.signature(command.callback).parameters.values():
            kind, info = [*get_args(hints[parameter.name]), None][:2]
            given = {} if info is None else vars(info)
            facts = {key: given[key] for key in SHOWN if given.get(key) is not None}
            yield f"    {parameter.name}: {said(kind)} = {said(parameter.default)}, {facts}\n"


def said(value: Any) -> str:
    """Return a type or a default as text."""
    if value is inspect.Parameter.empty:
        return "(to be given)"
    return str(getattr(value, "__name__", value)) if isinstance(value, type) else str(value)


def test_commands_are_the_golden_ones() -> None:
    found = "".join(lines_of(app, "detkit"))
    assert found == golden_text("commands.txt", found)
