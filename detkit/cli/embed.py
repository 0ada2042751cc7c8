"""`detkit embed`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from detkit.cli.arguments import AllowCustom, Out, Weights, dataset_place
from detkit.cli.output import JsonFile, deliver
from detkit.names import counted

if TYPE_CHECKING:
    from detkit.workflows.embed import Embedded

SHOWN = 10  # suspects that are printed


def embed(
    weights: Weights,
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A VOC, COCO or YOLO dataset, or synthetic.",
            callback=dataset_place,
        ),
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="A part of it; may be given several times. Default: all."),
    ] = None,
    of: Annotated[
        Literal["objects", "images"], typer.Option(help="The labelled objects, or whole images.")
    ] = "objects",
    layer: Annotated[
        str,
        typer.Option(
            metavar="L",
            help="decision: the vector that the detector decides on; pool5, fc6, fc7; or a module by its "
            "name, such as backbone, whose map is averaged over the region.",
        ),
    ] = "decision",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many, by chance.")] = 5000,
    apart: Annotated[
        bool,
        typer.Option(
            "--apart",
            help="Neighbours are of other series of images alone: frames of a film do not vouch for each "
            "other.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the choice and of the map.")] = 0,
    out: Out = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Draw a map of a dataset's objects; find labels that are likely wrong, and near duplicates.

    Writes a page to move about in, and the suspects as JSON, CSV and for Label Studio and CVAT.
    """
    from detkit.runtime.progress import ProgressLine
    from detkit.workflows import embed as workflow

    with ProgressLine("embedding", unit="objects") as on_object:
        result = workflow.embed(
            weights,
            dataset,
            sets=sets or (),
            of=of,
            layer=layer,
            limit=limit,
            apart=apart,
            seed=seed,
            out=out,
            device=device,
            allow_custom=allow_custom,
            on_object=on_object,
        )
    deliver(result.to_json(), json_file, _lines(result, workflow.PAGE))


def _lines(result: Embedded, page: str) -> Iterator[str]:
    yield (
        f"{counted(result.objects, 'code')} of {counted(result.dimensions, 'dimension')} at {result.layer}; "
        f"{counted(len(result.suspects), 'suspect label')}, "
        f"{counted(len(result.duplicates), 'pair')} of near duplicates"
    )
    for one in result.suspects[:SHOWN]:
        yield f"  {one['image']}, {one['object']}: {one['suggested']}? ({one['score']:.2f})"
    if more := result.suspects[SHOWN:]:
        yield f"  and {len(more):,} more, in suspects.json"
    yield f"the page is {result.folder / page}"
