"""`detkit plan`."""

from __future__ import annotations

import typer

from detkit.cli.arguments import ConfigName, Overrides
from detkit.cli.exits import NO
from detkit.cli.output import JsonFile, deliver


def plan(config: ConfigName, overrides: Overrides = None, json_file: JsonFile = None) -> None:
    """Say what memory and time a training takes, and what to change if it does not fit."""
    from detkit.config.load import load_config

    checked = load_config(config, overrides or ())
    from detkit.workflows import plan as workflow

    result = workflow.plan(checked)
    deliver(result.to_json(), json_file, result.lines())
    if not result.fits:
        raise typer.Exit(NO)
