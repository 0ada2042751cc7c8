"""`detkit convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from detkit.cli.output import JsonFile, deliver
from detkit.names import counted


def convert(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset, or: synthetic.")],
    to: Annotated[Literal["voc", "coco", "yolo", "labelme"], typer.Option(help="The format to write.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for it, new or empty.")],
    json_file: JsonFile = None,
) -> None:
    """Write a dataset, images and all, in another format."""
    from detkit.workflows import convert as workflow

    result = workflow.convert(dataset, to=to, out=out)
    lines = [
        f"{name}: {counted(part['images'], 'image')}, {counted(part['objects'], 'object')}"
        for name, part in result["parts"].items()
    ]
    deliver(result, json_file, [*lines, f"{result['out']}: {result['format']}"])
