"""`detkit eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.arguments import AllowCustom, ConfigName, Out, Overrides, checked, model_file
from detkit.cli.output import JsonFile, aligned, deliver
from detkit.names import counted

if TYPE_CHECKING:
    from detkit.workflows.evaluate import Evaluation


def evaluate(
    config: ConfigName,
    weights: Annotated[
        Path, typer.Option(metavar="FILE", help="The detector: a model.safetensors.", callback=model_file)
    ],
    overrides: Overrides = None,
    out: Out = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Follow missed objects, and say which step lost each.")
    ] = False,
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Evaluate a trained detector on a config's validation images.

    If it is killed, the same command does in --out what was not finished there.
    """
    read = checked(config, overrides, parts=["val"])
    from detkit.evaluation.measure import table
    from detkit.workflows import evaluate as workflow

    result = workflow.evaluate(read, weights=weights, out=out, trace=trace, allow_custom=allow_custom)
    if result is None:  # another process than the first
        return
    rate = f"{counted(result.num_images, 'image')}, {result.seconds_per_image:.3f} s each"
    lines = [*aligned(table(result.measured)), rate, f"{result.out}: report.html"]
    deliver(result.to_json(), json_file, [*lines, *_lost(result)])


def _lost(result: Evaluation) -> list[str]:
    """Return how many objects each step lost."""
    if result.lost is None:
        return []
    from detkit.explain.lives import OUTCOMES

    return [f"{count:>7,}  {OUTCOMES[outcome]}" for outcome, count in result.lost.counts.items()]
