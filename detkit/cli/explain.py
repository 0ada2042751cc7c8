"""`detkit explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from detkit.cli.arguments import AllowCustom, Out, Weights, box_numbers, box_text
from detkit.cli.output import JsonFile, aligned, deliver


def explain(
    weights: Weights,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.")],
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X1,Y1,X2,Y2",
            help="The region, in pixels of the file, detected or not. Default: the best detection.",
            callback=box_text,
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--class", metavar="C", help="The class. Default: the likeliest there.")
    ] = None,
    target: Annotated[
        Literal["class", "objectness", "x1", "y1", "x2", "y2"],
        typer.Option(help="The class's logit, the RPN's objectness, or an edge of the moved box."),
    ] = "class",
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="M",
            help="saliency, deconvnet, guided, gradcam, integrated, occlusion or drise; may be given several "
            "times. Default: all.",
        ),
    ] = None,
    masks: Annotated[int, typer.Option(min=1, metavar="N", help="Masks of D-RISE.")] = 2000,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="Holds the image: maps are to point at its objects, not at the box.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of masks, random maps and random weights.")] = 0,
    out: Out = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Show which pixels made a detector say what it says, with checks of each map.

    Writes a page and a picture of each method's map. A method that fails a check says so.
    """
    from detkit.runtime.progress import ProgressLine
    from detkit.workflows import explain as workflow

    with ProgressLine("explanations", unit="steps") as progress:
        result = workflow.explain(
            weights,
            image,
            box=box_numbers(box),
            label=label,
            output=target,
            methods=cast(Any, method),
            masks=masks,
            labels=labels,
            seed=seed,
            out=out,
            device=device,
            allow_custom=allow_custom,
            on_image=progress,
        )
    deliver(result.to_json(), json_file, _lines(result.to_json(), workflow.PAGE))


def _lines(result: dict[str, Any], page: str) -> list[str]:
    """Return the target, a row of checks for each method, and what failed."""
    target, checks = result["target"], result["checks"]
    value = target["score"] if target["score"] is not None else target["value"]
    place = ",".join(f"{side:g}" for side in target["box"])
    rows = [("method", ["random", "deletion", "insertion", "points"])]
    for name, own in checks.items():
        cells = [
            _cell(own["randomisation"][-1] if "randomisation" in own else None),
            _cell(own["deletion_auc"]),
            _cell(own["insertion_auc"]),
            {None: "", True: "yes", False: "no"}[own.get("pointing")],
        ]
        rows.append((name, cells))
    failed = [f"{name}: {text}" for name, own in checks.items() for text in own.get("failed", ())]
    missing = [f"not made: {own['reason']}" for own in result["methods"] if own["reason"]]
    return [
        f"{target['label']} {value:.3f} at {place} ({target['output']})",
        *aligned(rows),
        *failed,
        *missing,
        f"the page is {Path(result['out']) / page}",
    ]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
