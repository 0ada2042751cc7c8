"""`detkit compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import AllowCustom, Run, run_folder
from detkit.cli.output import JsonFile, aligned, deliver


def compare(
    first: Run,
    second: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Another, evaluated on the same images.", callback=run_folder),
    ],
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Say whether the second run is better than the first, or only luckier with its images."""
    from detkit.workflows import compare as workflow

    result = workflow.compare(first, second, allow_custom=allow_custom)
    deliver(result.to_json(), json_file, [*aligned(result.table()), "", *result.conclusions()])
