"""`detkit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import AllowCustom
from detkit.cli.output import JsonFile, aligned, deliver


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training or an evaluation.")],
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Write the report of a finished run again, from the files in its folder."""
    from detkit.evaluation.measure import table
    from detkit.workflows import report as workflow

    result = workflow.report(run, allow_custom=allow_custom)
    deliver(result.to_json(), json_file, [*aligned(table(result.measured)), str(result.file)])
