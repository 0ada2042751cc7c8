"""`detkit init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.output import JsonFile, deliver


def init(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="A VOC, COCO or YOLO folder, a COCO .json, a YOLO data.yaml or images in folders by class.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The YAML file to write.")],
    detector: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Shipped config to start from. Default: one for this machine."),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Look at a dataset and write a complete config for it."""
    from detkit.workflows import init as workflow

    found = workflow.init(dataset, detector=detector, out=out)
    counts = [
        f"{part}: {found['images'][part]} images, {found['objects'][part]} objects"
        for part in found["images"]
    ]
    deliver(
        found,
        json_file,
        [
            f"{dataset}: {found['format']}, {len(found['classes'])} classes: {', '.join(found['classes'])}",
            *counts,
            *found["notes"],
            f"wrote {out}, from {found['detector']}; next: detkit check {out}, then detkit train {out}",
        ],
    )
