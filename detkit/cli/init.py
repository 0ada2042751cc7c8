"""`detkit init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.arguments import BackboneWeights, dataset_place, model_file, weights_override
from detkit.cli.output import JsonFile, deliver
from detkit.names import counted

if TYPE_CHECKING:
    from detkit.training.staged.plan import StagedPlan
    from detkit.workflows.plan import Plan


def _new_file(out: Path) -> Path:
    from detkit.storage.run_folder import require_new

    require_new(out, "-o")
    return out


def init(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A dataset's folder or file of annotations, or images in folders by class.",
            callback=dataset_place,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="FILE", help="The YAML file to write.", callback=_new_file),
    ],
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="cascade_rcnn, faster_rcnn, fast_rcnn, sppnet, rcnn, classifier, a shipped config or file.",
        ),
    ] = None,
    weights: BackboneWeights = None,
    from_weights: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="WEIGHTS",
            help="A trained detector (a file, or torchvision:NAME) that the training shall start from.",
            callback=model_file,
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="A class to find, once for each; default: all. Others are background.",
        ),
    ] = None,
    with_plan: Annotated[
        bool, typer.Option("--plan", help="Also measure what the training takes, as detkit plan does.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Look at a dataset and write a complete config for it."""
    from detkit.workflows import init as workflow

    changes = [] if weights is None else [weights_override(weights)]
    found = workflow.init(
        dataset,
        detector=detector,
        out=out,
        overrides=changes,
        classes=classes or (),
        from_weights=from_weights,
    )
    start = "" if from_weights is None else f" --from {from_weights}"
    planned = _plan(out) if with_plan else None
    counts = [
        f"{part}: {counted(found['images'][part], 'image')}, {counted(found['objects'][part], 'object')}"
        for part in found["images"]
    ]
    deliver(
        found | {"plan": planned and planned.to_json()},
        json_file,
        [
            f"{dataset}: {found['format']}, {counted(len(found['classes']), 'class')}: "
            + ", ".join(found["classes"]),
            *counts,
            *found["notes"],
            *(planned.lines() if planned else ()),
            f"wrote {out}, from {found['detector']}; next: detkit check {out}, then "
            f"detkit train {out}{start}",
        ],
    )


def _plan(config: Path) -> Plan | StagedPlan:
    from detkit.config.load import load_config
    from detkit.workflows import plan as workflow

    return workflow.plan(load_config(str(config)))
