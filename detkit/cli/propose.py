"""`detkit propose`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import AllowCustom
from detkit.cli.exits import NO
from detkit.cli.output import JsonFile, deliver
from detkit.names import counted

Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME", help="Part of the dataset, such as train; may be repeated."),
]

_OVERRIDE = re.compile(r"[a-z_][a-z0-9_.]*=")


def propose(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            help="selective_search, edge_boxes, sliding_window, or the model.safetensors of a Faster R-CNN.",
        ),
    ],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... [KEY=VALUE...]",
            help="A VOC, COCO or YOLO dataset (or: synthetic), or image files, folders and patterns; and "
            "parameters of the method.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The .safetensors file to write.")],
    mode: Annotated[
        str | None, typer.Option(metavar="M", help="Of selective search: single, fast, quality, opencv_...")
    ] = None,
    max_boxes: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the best N boxes of an image.")
    ] = None,
    sets: Sets = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Do only the I-th of N shares, 1 <= I <= N.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Write the file from what all shards did.")] = False,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw the best box of each object into copies of the images.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be read; status 2.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where a model runs: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Find where objects may be, and keep the boxes in a file; goes on where it was stopped.

    Images that cannot be read are skipped and listed; then the exit status is 1. The same command tries them
    once more.
    """
    from detkit.workflows import propose as workflow

    overrides = [item for item in sources if _OVERRIDE.match(item) and not Path(item).exists()]
    given = {"mode": mode, "max_boxes": max_boxes}
    result = workflow.propose(
        method,
        [item for item in sources if item not in overrides],
        out,
        overrides=[*overrides, *(f"{key}={value}" for key, value in given.items() if value is not None)],
        sets=sets or (),
        shard=_shard(shard),
        merge=merge,
        draw=draw,
        device=device,
        allow_custom=allow_custom,
        strict=strict,
    )
    seconds = "" if result.seconds_per_image is None else f" and {result.seconds_per_image:.3f} s"
    lines = [
        f"{result.method}: {counted(result.images, 'image')}, "
        f"{result.boxes_per_image:.1f} boxes{seconds} an image",
        result.note,
    ]
    if result.drawings is not None:
        lines.append(f"drawings are in {result.drawings}")
    if result.skipped:
        lines.append(f"without {counted(len(result.skipped), 'image')} that could not be read")
    if result.left_out:
        lines.append(f"{counted(result.left_out, 'other file')} left out")
    deliver(result.to_json(), json_file, lines)
    if result.skipped:
        raise typer.Exit(NO)


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    numbers = re.fullmatch(r"(\d+)/(\d+)", text)
    if numbers is None:
        raise typer.BadParameter(f"expected I/N, such as 3/8, got {text}", param_hint="--shard")
    return int(numbers[1]), int(numbers[2])
