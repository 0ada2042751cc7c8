"""`detkit report`."""

from __future__ import annotations

from detkit.cli.arguments import AllowCustom, Run
from detkit.cli.output import JsonFile, aligned, deliver


def report(
    run: Run,
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Write the report of a finished run again, from the files in its folder."""
    from detkit.evaluation.measure import table
    from detkit.workflows import report as workflow

    result = workflow.report(run, allow_custom=allow_custom)
    deliver(result.to_json(), json_file, [*aligned(table(result.measured)), str(result.file)])
