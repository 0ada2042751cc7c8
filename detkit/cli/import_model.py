"""`detkit import`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import Overrides
from detkit.cli.output import JsonFile, deliver
from detkit.names import counted


def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the other program left.")],
    source: Annotated[str, typer.Option("--from", metavar="PROGRAM", help="opencv-hog.")],
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The file to write. Default: one beside FILE."),
    ] = None,
    arch: Annotated[
        str | None, typer.Option(metavar="NAME", help="The architecture, where the program has several.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Name of a class, once for each, in the file's order."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="The window in pixels, where the file does not tell."),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Turn a trained detector of another program into a model file."""
    sides = None if window is None else re.fullmatch(r"(\d{1,5})x(\d{1,5})", window)
    if window is not None and sides is None:
        raise typer.BadParameter(f"--window must be WIDTHxHEIGHT in pixels, such as 64x128; got {window}")
    from detkit.workflows import import_model as workflow

    result = workflow.import_model(
        file,
        source,
        out=out,
        arch=arch,
        classes=classes or (),
        window=None if sides is None else (int(sides[1]), int(sides[2])),
        overrides=overrides or (),
    )
    lines = [
        f"{result.arch}: {counted(len(result.classes), 'class')}, {result.parameters:,} parameters",
        *(f"not used: {name}" for name in result.unused),
        *(f"warning: not in {file}: {name}" for name in result.missing),
        f"{result.out}: detkit predict {result.out} IMAGE",
    ]
    deliver(result.to_json(), json_file, lines)
