"""`detkit eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import AllowCustom, ConfigName, Out, Overrides, checked, model_file
from detkit.cli.output import JsonFile, aligned, deliver
from detkit.names import counted


def evaluate(
    config: ConfigName,
    weights: Annotated[
        Path, typer.Option(metavar="FILE", help="The detector: a model.safetensors.", callback=model_file)
    ],
    overrides: Overrides = None,
    out: Out = None,
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Evaluate a trained detector on a config's validation images.

    If it is killed, the same command does in --out what was not finished there.
    """
    read = checked(config, overrides, parts=["val"])
    from detkit.evaluation.measure import table
    from detkit.workflows import evaluate as workflow

    result = workflow.evaluate(read, weights=weights, out=out, allow_custom=allow_custom)
    if result is None:  # another process than the first
        return
    rate = f"{counted(result.num_images, 'image')}, {result.seconds_per_image:.3f} s each"
    deliver(
        result.to_json(), json_file, [*aligned(table(result.measured)), rate, f"{result.out}: report.html"]
    )
