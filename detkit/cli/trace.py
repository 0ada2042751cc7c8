"""`detkit trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from detkit.cli.arguments import AllowCustom, Box, Out, Weights, box_numbers
from detkit.cli.output import JsonFile, deliver
from detkit.cli.predict import number_or_aim


def trace(
    weights: Weights,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.")],
    labels: Annotated[
        str | None,
        typer.Option(metavar="DATASET", help="Holds the image: its labelled objects are followed."),
    ] = None,
    box: Box = None,
    label: Annotated[str | None, typer.Option("--class", metavar="C", help="The class of --box.")] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="Lowest score that counts as a detection, or f1, precision or recall. Default: as predict.",
        ),
    ] = None,
    out: Out = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Follow objects through a detector, step by step, and name the step that lost them.

    Without --labels and --box the detections are followed. Writes a page to step through.
    """
    from detkit.workflows import trace as workflow

    result = workflow.trace(
        weights,
        image,
        box=box_numbers(box),
        label=label,
        labels=labels,
        threshold=number_or_aim(threshold),
        out=out,
        device=device,
        allow_custom=allow_custom,
    )
    deliver(result.to_json(), json_file, _lines(result.to_json(), workflow.PAGE))


def _lines(result: dict[str, Any], page: str) -> list[str]:
    lines = []
    for number, own in enumerate(result["objects"], 1):
        lines.append(f"{number}. {own['label']}: {own['meaning']}")
        lines += [f"   {step['name']:<12} {step['text']}" for step in own["steps"]]
    return [*lines, f"the page is {Path(result['out']) / page}"]
