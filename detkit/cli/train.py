"""`detkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import BackboneWeights, ConfigName, Out, Overrides, checked, model_file
from detkit.cli.output import JsonFile, aligned, deliver


def train(
    config: ConfigName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    from_weights: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="WEIGHTS",
            help="Start from a trained detector (a file, or torchvision:NAME); keep what fits.",
            callback=model_file,
        ),
    ] = None,
    weights: BackboneWeights = None,
    skip_bad: Annotated[
        int,
        typer.Option(
            "--skip-bad", metavar="N", min=0, help="Go on without up to N images that cannot be read."
        ),
    ] = 0,
    json_file: JsonFile = None,
) -> None:
    """Train a detector, evaluate its best weights and write a report.

    If it is killed, the same command begins anew in --out, or says that --resume goes on from a checkpoint.
    """
    read = checked(config, overrides, weights, parts=["train", "val"])
    from detkit.evaluation.measure import table
    from detkit.workflows import train as workflow

    result = workflow.train(
        read, name=Path(config).stem, out=out, resume=resume, from_weights=from_weights, skip_bad=skip_bad
    )
    if result is None:  # another process than the first
        return
    rows = aligned(table(result.measured)) if result.measured is not None else []
    deliver(result.to_json(), json_file, [*rows, f"{result.out}: model.safetensors, report.html"])
