"""`detkit recall`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.output import JsonFile, aligned, deliver
from detkit.cli.propose import Sets


def recall(
    proposals: Annotated[
        Path,
        typer.Argument(
            metavar="PROPOSALS",
            help="A file by detkit propose, a .mat, or COCO results (.json).",
        ),
    ],
    dataset: Annotated[
        str, typer.Option(metavar="DATASET", help="A VOC, COCO or YOLO dataset, or: synthetic.")
    ],
    sets: Sets = None,
    max_boxes: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Look at the best N boxes of an image."),
    ] = None,
    difficult: Annotated[bool, typer.Option("--difficult", help="Count difficult objects, too.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the curves into an .svg file.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Measure how well proposals cover the labelled objects; no model and no torch."""
    from detkit.evaluation.measure import shown
    from detkit.workflows import recall as workflow

    result = workflow.recall(
        proposals, dataset, sets=sets or (), max_boxes=max_boxes, difficult=difficult, plot=plot
    )
    rows = [(name, [shown(value)]) for name, value in result.abo.items()]
    rows = [("class", ["best overlap"]), *rows, ("mean (MABO)", [shown(result.mabo)])] if rows else []
    lines = [
        f"{result.images} images, {result.objects} objects, {result.boxes_per_image:.1f} boxes an image",
        *aligned(rows),
        *(f"recall at IoU {iou:g}: {shown(value)}" for iou, value in result.recall.items()),
        f"average recall, IoU 0.5 to 1: {shown(result.ar)}",
        *([] if plot is None else [f"curves are in {plot}"]),
    ]
    deliver(result.to_json(), json_file, lines)
