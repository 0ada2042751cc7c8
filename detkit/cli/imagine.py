"""`detkit imagine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from detkit.cli.arguments import AllowCustom, Box, Out, Weights, box_numbers
from detkit.cli.output import JsonFile, deliver


def imagine(
    weights: Weights,
    label: Annotated[
        str | None, typer.Option("--class", metavar="C", help="The class that is maximised. Default: each.")
    ] = None,
    method: Annotated[
        Literal["maximise", "invert", "dream"],
        typer.Option(help="The image of a class; one with a layer's code; more of what a layer sees."),
    ] = "maximise",
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An image file, for invert and dream.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A module, for invert and dream. Default: the backbone's last stage."
        ),
    ] = None,
    box: Box = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps for each image.")] = None,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            help="Longer side of the image. Default: what a classifier sees, otherwise 256; for dream 512.",
        ),
    ] = None,
    octaves: Annotated[
        int | None, typer.Option(metavar="N", help="Sizes from coarse to fine, for maximise and dream.")
    ] = None,
    decay: Annotated[
        float | None, typer.Option(metavar="X", help="Weight of the pixels' norm: L2, for invert the sixth.")
    ] = None,
    variation: Annotated[
        float | None, typer.Option(metavar="X", help="Weight of the total variation.")
    ] = None,
    jitter: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Shift the image by up to this share of its side in each step."),
    ] = None,
    blur_every: Annotated[
        int | None, typer.Option(metavar="N", help="Blur after so many steps; 0: never.")
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Set the palest pixels to grey in each step.")
    ] = None,
    clip_contribution: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Likewise those that matter least.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of noise and jitter.")] = 0,
    out: Out = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Make images that show what a detector or classifier looks for, and what its layers keep.

    Writes a page and the pictures.
    """
    from detkit.runtime.progress import ProgressLine
    from detkit.workflows import imagine as workflow

    given = {
        "steps": steps,
        "octaves": octaves,
        "decay": decay,
        "variation": variation,
        "jitter": jitter,
        "blur_every": blur_every,
        "clip_norm": clip_norm,
        "clip_contribution": clip_contribution,
    }
    with ProgressLine("imagining", unit="steps") as progress:
        result = workflow.imagine(
            weights,
            method=method,
            label=label,
            box=box_numbers(box),
            image=image,
            layer=layer,
            size_px=size,
            changes={name: value for name, value in given.items() if value is not None},
            seed=seed,
            out=out,
            device=device,
            allow_custom=allow_custom,
            on_step=progress,
        )
    deliver(result.to_json(), json_file, _lines(result.to_json(), workflow.PAGE))


def _lines(result: dict[str, Any], page: str) -> list[str]:
    """Return the layer, the numbers of each picture and its file."""
    lines = [] if result["layer"] is None else [f"layer {result['layer']}"]
    for own in result["pictures"]:
        what = {"maximise": f"{own['class']}: logit", "invert": "distance", "dream": "norm"}[result["method"]]
        kind = "distance" if result["method"] == "invert" else "value"
        lines.append(f"{what} {own[f'{kind}_before']:.4g} -> {own[f'{kind}_after']:.4g}: {own['file']}")
    return [*lines, f"the page is {Path(result['out']) / page}"]
