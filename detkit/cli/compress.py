"""`detkit compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.arguments import AllowCustom, Overrides, Weights, checked
from detkit.cli.output import JsonFile, aligned, deliver


def compress(
    weights: Weights,
    overrides: Overrides = None,
    fc6: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Rank of fc6; 1024 in the paper. Default: whole.")
    ] = None,
    fc7: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Rank of fc7; 256 in the paper. Default: whole.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write. Default: one beside WEIGHTS."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", help="Evaluate on this config's data.val. Default: the model's own."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Make thin layers of fc6 and fc7 by their singular values, and measure what it gains and costs."""
    if fc6 is None and fc7 is None:
        raise typer.BadParameter("give --fc6, --fc7 or both, such as --fc6 1024 --fc7 256")
    if overrides and data is None:
        raise typer.BadParameter(f"{overrides[0]}: changes a config, but --data names none")
    config = None if data is None else checked(data, overrides, parts=["val"])
    from detkit.workflows import compress as workflow

    result = workflow.compress(
        weights, fc6, fc7, out=out, data=config, device=device, allow_custom=allow_custom
    )
    both = (result.before, result.after)
    rows = [
        ("", ["before", "after"]),
        ("parameters of fc6 and fc7", [f"{one.parameters:,}" for one in both]),
        (result.metric or "AP", [_shown(one.ap) for one in both]),
        ("seconds per image", [_shown(one.seconds_per_image) for one in both]),
    ]
    notes = [] if result.speedup is None else [f"{result.speedup:.2f} times as fast"]
    if result.after.parameters >= result.before.parameters:
        notes.append("no smaller than before: take lower ranks")
    deliver(result.to_json(), json_file, [*aligned(rows), *notes, f"{result.out}: the compressed detector"])


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
