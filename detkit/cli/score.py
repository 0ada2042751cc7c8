"""`detkit score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from detkit.cli.output import JsonFile, aligned, deliver


def score(
    truth: Annotated[
        Path, typer.Option("--gt", metavar="FILE|DIR", help="COCO annotations, or a folder of VOC XML files.")
    ],
    found: Annotated[
        Path, typer.Option("--dt", metavar="FILE|DIR", help="COCO results, or a folder of comp4 files.")
    ],
    metric: Annotated[
        Literal["voc07", "voc10", "coco", "ilsvrc", "miss_rate"], typer.Option(help="Whose rules.")
    ],
    json_file: JsonFile = None,
) -> None:
    """Evaluate result files alone, by the official rules; no model and no torch."""
    from detkit.evaluation.measure import table
    from detkit.workflows import score as workflow

    measured = workflow.score(truth, found, metric)
    deliver(measured.to_json(), json_file, aligned(table(measured)))
