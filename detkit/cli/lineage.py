"""`detkit lineage`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import dataset_place
from detkit.cli.output import JsonFile, aligned, deliver


def lineage(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="[DATASET]",
            help="A VOC, COCO or YOLO dataset; default: the embedded one.",
            callback=dataset_place,
        ),
    ] = "synthetic",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for the results; in one that was begun, what is left is done.",
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Network of all detectors, such as resnet18.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="What the backbone starts from: a file, a torchvision weights name, or `objects`: a "
            "classifier that is trained first, from the objects of the training images.",
        ),
    ] = None,
    width: Annotated[float | None, typer.Option(min=0.01, help="Share of the backbone's channels.")] = None,
    boxes: Annotated[int | None, typer.Option(min=1, metavar="N", help="Proposals of an image.")] = None,
    regions: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Regions that a network over crops is tuned on.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How often a network over whole images sees each of them."),
    ] = None,
    crop_px: Annotated[int | None, typer.Option(min=33, metavar="N", help="Side of R-CNN's crops.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn at random.")] = 0,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Size --boxes, --crop-px, --regions and --epochs, where they are not given, so that all "
            "detectors end in about this time here. Default: 100 for a dataset of yours.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--detector", metavar="NAME", help="Only this one; may be repeated.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Train and test the R-CNN lineage on one dataset: what did each idea buy?"""
    from detkit.data.synthetic.dataset import is_embedded
    from detkit.lineage.common_settings import MINUTES, terms_for
    from detkit.lineage.page import COLUMNS
    from detkit.workflows import lineage as workflow

    sizes = {"boxes": boxes, "regions": regions, "epochs": epochs, "crop_px": crop_px}
    terms = terms_for(dataset, backbone=backbone, weights=weights, width=width, seed=seed, **sizes)
    given = [name for name, value in sizes.items() if value is not None]
    if minutes is None and not is_embedded(dataset) and len(given) < len(sizes):
        minutes = MINUTES
    found = workflow.lineage(dataset, terms, out=out, only=only or (), minutes=minutes, given=given)
    table = [(COLUMNS[0], COLUMNS[1:]), *((row.title, row.cells()) for row in found.rows)]
    gains = [
        f"{ratio.what}: {ratio.measured:.1f}x ({ratio.published:g}x in {ratio.source})"
        for ratio in found.ratios.values()
    ]
    deliver(found.to_json(), json_file, [*aligned(table), *gains, f"look at {found.out / workflow.PAGE}"])
