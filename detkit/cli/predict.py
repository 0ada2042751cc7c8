"""`detkit predict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from detkit.cli.arguments import AllowCustom, Out, Weights
from detkit.cli.exits import NO
from detkit.cli.output import JsonFile, deliver
from detkit.names import counted

if TYPE_CHECKING:
    from detkit.inference.score_floor import Aim

_NOTHING = "nothing found"


def _sources(sources: list[str]) -> list[str]:
    from detkit.data.datasets.named_images import require_sources

    require_sources(sources)
    return sources


def predict(
    weights: Weights,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Image files, folders and patterns.", callback=_sources),
    ],
    out: Out = None,
    file_format: Annotated[
        Literal["json", "coco", "voc", "yolo", "csv"],
        typer.Option("--format", help="Format of the files in --out."),
    ] = "json",
    draw: Annotated[bool, typer.Option("--draw", help="Draw the boxes into copies of the images.")] = False,
    tile: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Look at tiles of N pixels, for small objects in large images."
        ),
    ] = None,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment", help="Look at each image mirrored and in several sizes, too: slower, more accurate."
        ),
    ] = False,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="Lowest score reported, from 0 to 1; or f1, precision or recall: each class's own threshold "
            "for the best F1, a precision of 0.9 or a recall of 0.9 on the validation images. "
            "Default: f1 where the model file holds thresholds, otherwise 0.5.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be read; status 2.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Run a trained detector on images.

    Images that cannot be read are skipped and listed; then the exit status is 1. The same command, with the
    same --out, does what is not done there: after Ctrl-C or a kill, images that were skipped, new drawings.
    """
    from detkit.inference.results import SKIPPED
    from detkit.runtime.progress import ProgressLine
    from detkit.workflows import predict as workflow

    with ProgressLine("predictions") as progress:
        folder, records = workflow.predict(
            weights,
            sources,
            out=out,
            format=file_format,
            draw=draw,
            tile=tile,
            augment=augment,
            threshold=_threshold(threshold),
            device=device,
            allow_custom=allow_custom,
            strict=strict,
            on_image=progress,
        )
    if not records:  # another process than the first
        return
    done = [
        counted(len(records), "image"),
        *([f"{len(records.skipped)} of them skipped ({SKIPPED} lists them)"] if records.skipped else []),
        *([f"{counted(records.left_out, 'other file')} left out"] if records.left_out else []),
        f"score threshold {records.floors}",
    ]
    lines = _lines(records, hints=threshold is None)
    deliver(records, json_file, chain(lines, [f"{', '.join(done)}; results are in {folder}"]))
    if records.skipped:
        raise typer.Exit(NO)


def _threshold(text: str | None) -> float | Aim | None:
    """Return a number where the text is one; what else it may be is known where it is used."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return cast("Aim", text)


def _lines(records: Sequence[dict[str, Any]], *, hints: bool) -> Iterator[str]:
    """Yield a line for each image, and a hint where most have nothing."""
    empty = 0
    for record in records:
        said = _summary(record)
        empty += said == _NOTHING
        yield f"{record['image']}: {said}"
    if hints and 2 * empty > len(records):
        yield (
            f"nothing found in {empty} of {counted(len(records), 'image')}: what scores below the model's "
            "own thresholds is left out; --threshold 0.05 shows it"
        )


def _summary(record: dict[str, Any]) -> str:
    found = record["detections"]
    if record["error"] is not None:
        return "skipped"
    whole = [0, 0, record["width"], record["height"]]
    if found and all(detection["box"] == whole for detection in found):
        # What is said of the whole image is not counted: a classifier's classes, the likeliest first.
        return ", ".join(f"{detection['label']} {detection['score']:.2f}" for detection in found)
    labels = [str(detection["label"]) for detection in found]
    counts = (f"{labels.count(label)} {label}" for label in dict.fromkeys(labels))
    return ", ".join(counts) or _NOTHING
