"""`detkit import`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.output import JsonFile, deliver
from detkit.names import counted


def import_model(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... [KEY=VALUE...]",
            help="What the other program left, one file or more, and changes to the config that is kept.",
        ),
    ],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="PROGRAM",
            help="torchvision, detectron2, mmdetection, caffe, opencv-hog or voc-release5.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The file to write. Default: one beside FILE."),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Where the file does not tell: whose network detectron2 or mmdetection began with (caffe, "
            "caffe2 or pytorch); the detector to make of Caffe's layers.",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Name of a class, once for each, in the file's order."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="The window in pixels, where the file does not tell."),
    ] = None,
    cascade: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Look stage by stage, by a star-cascade's statistics in DIR."),
    ] = None,
    cascade_threshold: Annotated[
        float, typer.Option(metavar="SCORE", help="Lowest margin that the cascade is to find.")
    ] = -0.5,
    norm_eps: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="EPS", help="What frozen norms add to the variance, where it is unusual."
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Let weights be missing (as if untrained) or be left over.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Turn a trained detector of another program into a model file."""
    changes = [text for text in given if re.match(r"[a-z_]+(\.\w+)*=", text)]
    files = [text for text in given if text not in changes]
    if not files:
        raise typer.BadParameter("name a FILE")
    sides = None if window is None else re.fullmatch(r"(\d{1,5})x(\d{1,5})", window)
    if window is not None and sides is None:
        raise typer.BadParameter(f"--window must be WIDTHxHEIGHT in pixels, such as 64x128; got {window}")
    from detkit.workflows import import_model as workflow

    result = workflow.import_model(
        files,
        source,
        out=out,
        arch=arch,
        classes=classes or (),
        window=None if sides is None else (int(sides[1]), int(sides[2])),
        overrides=changes,
        cascade=cascade,
        cascade_threshold=cascade_threshold,
        norm_eps=norm_eps,
        partial=partial,
    )
    lines = [
        f"{result.arch}: {counted(len(result.classes), 'class')}, {result.parameters:,} parameters",
        *(f"not used: {name}" for name in result.unused),
        *(f"warning: not in {files[0]}: {name}" for name in result.missing),
        f"{result.out}: detkit predict {result.out} IMAGE",
    ]
    deliver(result.to_json(), json_file, lines)
