"""`detkit export`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.arguments import AllowCustom, Overrides, Weights, checked
from detkit.cli.exits import NO
from detkit.cli.output import JsonFile, deliver
from detkit.names import counted

if TYPE_CHECKING:
    from detkit.workflows.export import Export


def export(
    weights: Weights,
    overrides: Overrides = None,
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="onnx, torch-export or torchvision.")
    ] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32; of ONNX also fp16 and int8.")] = "fp32",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The file to write. Default: one beside WEIGHTS."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", help="Check and measure on this config's data.val, before and after."),
    ] = None,
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Write a detector for other programs, if it finds the same there."""
    if overrides and data is None:
        raise typer.BadParameter(f"{overrides[0]}: changes a config, but --data names none")
    config = None if data is None else checked(data, overrides, parts=["val"])
    from detkit.workflows import export as workflow

    result = workflow.export(
        weights, to, precision=precision, out=out, data=config, allow_custom=allow_custom
    )
    deliver(result.to_json(), json_file, _lines(result))
    if not result.is_same:
        raise typer.Exit(NO)


def _lines(result: Export) -> Iterator[str]:
    found = result.difference
    points = "" if found.keypoint_px is None else f", key points {found.keypoint_px:.2g} px"
    yield (
        f"{counted(found.detections, 'detection')} of {counted(len(found.batches), 'batch')}: boxes at most "
        f"{found.box_px:.2g} px apart{points}, scores {found.score:.2g}; {found.alone} found by one alone"
    )
    if result.map_before is not None and result.map_after is not None:
        yield f"metric: {result.map_before:.4f} before, {result.map_after:.4f} after"
    for note in result.notes:
        yield f"note: {note}"
    if result.out is None:
        yield "refused: the exported detector differs by more than the tolerance, and no file was written"
    else:
        yield f"{result.out}: the detector, with its certificate in {result.out}.json"
