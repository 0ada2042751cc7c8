"""`detkit plan`."""

from __future__ import annotations

import typer

from detkit.cli.arguments import BackboneWeights, ConfigName, Overrides, checked
from detkit.cli.exits import NO
from detkit.cli.output import JsonFile, deliver


def plan(
    config: ConfigName,
    overrides: Overrides = None,
    weights: BackboneWeights = None,
    json_file: JsonFile = None,
) -> None:
    """Say what memory and time a training takes, and what to change if it does not fit."""
    read = checked(config, overrides, weights, parts=["train", "val"])
    from detkit.workflows import plan as workflow

    result = workflow.plan(read)
    deliver(result.to_json(), json_file, result.lines())
    if not result.fits:
        raise typer.Exit(NO)
