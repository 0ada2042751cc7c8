"""`detkit serve`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from detkit.cli.arguments import AllowCustom, Weights
from detkit.cli.output import JsonFile, deliver
from detkit.cli.predict import number_or_aim


def serve(
    weights: Weights,
    host: Annotated[
        str, typer.Option(help="Where to listen; 127.0.0.1 is reached from this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    threshold: Annotated[
        str | None,
        typer.Option(metavar="T", help="Lowest score reported where a request names none, as in predict."),
    ] = None,
    max_mb: Annotated[int, typer.Option(min=1, max=1024, help="Largest request, in MiB.")] = 20,
    max_megapixels: Annotated[
        int, typer.Option(min=1, max=178, help="Largest image, in million pixels.")
    ] = 50,
    queue: Annotated[
        int, typer.Option(min=1, max=10_000, help="Requests that wait at a time; others are refused (503).")
    ] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Serve a trained detector over HTTP, with a page to try it, until Ctrl-C.

    POST an image to /predict: as the body, as the file of a form, or in JSON as base64. Needs the extra
    `serve` (FastAPI).
    """
    from detkit.workflows import serve as workflow

    def said(about: dict[str, Any]) -> None:
        lines = [f"serving {about['model']} at {about['address']}; Ctrl-C ends it"]
        deliver(about, json_file, lines)
        sys.stdout.flush()

    workflow.serve(
        weights,
        host=host,
        port=port,
        threshold=number_or_aim(threshold),
        device=device,
        max_mb=max_mb,
        max_megapixels=max_megapixels,
        queue=queue,
        allow_custom=allow_custom,
        on_start=said,
    )
