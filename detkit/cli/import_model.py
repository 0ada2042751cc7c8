"""`detkit import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.output import JsonFile, deliver
from detkit.names import counted


def import_model(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="What the other program left; one or more.")
    ],
    source: Annotated[str, typer.Option("--from", metavar="PROGRAM", help="voc-release5.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the config that the model file keeps."),
    ] = None,
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
    cascade: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Look stage by stage, by the star-cascade's statistics in this folder."
        ),
    ] = None,
    cascade_threshold: Annotated[
        float, typer.Option(metavar="SCORE", help="Lowest margin that the cascade is to find.")
    ] = -0.5,
    json_file: JsonFile = None,
) -> None:
    """Turn a trained detector of another program into a model file."""
    from detkit.workflows import import_model as workflow

    result = workflow.import_model(
        files,
        source,
        out=out,
        arch=arch,
        classes=classes or (),
        cascade=cascade,
        cascade_threshold=cascade_threshold,
        overrides=changes or (),
    )
    lines = [
        f"{result.arch}: {counted(len(result.classes), 'class')}, {result.parameters:,} parameters",
        *(f"not used: {name}" for name in result.unused),
        *(f"warning: not in {files[0]}: {name}" for name in result.missing),
        f"{result.out}: detkit predict {result.out} IMAGE",
    ]
    deliver(result.to_json(), json_file, lines)
