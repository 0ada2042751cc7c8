"""`detkit init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import BackboneWeights, weights_override
from detkit.cli.output import JsonFile, deliver
from detkit.names import counted


def init(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="A dataset's folder or file of annotations, or images in folders by class.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The YAML file to write.")],
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="faster_rcnn, fast_rcnn, sppnet, rcnn, classifier, or a shipped config or file.",
        ),
    ] = None,
    weights: BackboneWeights = None,
    json_file: JsonFile = None,
) -> None:
    """Look at a dataset and write a complete config for it."""
    from detkit.workflows import init as workflow

    changes = [] if weights is None else [weights_override(weights)]
    found = workflow.init(dataset, detector=detector, out=out, overrides=changes)
    counts = [
        f"{part}: {counted(found['images'][part], 'image')}, {counted(found['objects'][part], 'object')}"
        for part in found["images"]
    ]
    deliver(
        found,
        json_file,
        [
            f"{dataset}: {found['format']}, {counted(len(found['classes']), 'class')}: "
            + ", ".join(found["classes"]),
            *counts,
            *found["notes"],
            f"wrote {out}, from {found['detector']}; next: detkit train {out}",
        ],
    )
