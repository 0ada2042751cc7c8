"""`detkit predict`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from detkit.cli.arguments import AllowCustom, Out, Weights
from detkit.cli.exits import NO
from detkit.cli.output import JsonFile, deliver
from detkit.errors import UserError
from detkit.names import counted

if TYPE_CHECKING:
    from detkit.inference.records import Records
    from detkit.inference.score_floor import Aim

_NOTHING, SKIPPED = "nothing found", "skipped.json"


def _sources(sources: list[str]) -> list[str]:
    from detkit.data.datasets.named_images import require_sources

    named = [name for source in sources for name in (_listed() if source == "-" else [source])]
    require_sources(named)
    return named


def _listed() -> list[str]:
    """Return the lines of standard input, each a source."""
    lines = [line.rstrip("\r\n") for line in sys.stdin]
    if not any(lines):
        raise UserError("-: standard input names no files; one is expected on each line")
    return [line for line in lines if line]


def predict(
    weights: Weights,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Images, videos, folders, patterns; a camera (0, camera:0) or a stream (rtsp://...); "
            "- reads their names from standard input.",
            callback=_sources,
        ),
    ],
    out: Out = None,
    file_format: Annotated[
        Literal["json", "jsonl", "coco", "voc", "yolo", "csv", "cvat", "labelstudio"] | None,
        typer.Option(
            "--format",
            help="Format of the files in --out. Default: json, of videos jsonl.",
            show_default=False,
        ),
    ] = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw the boxes into copies of the images and videos.")
    ] = False,
    crops: Annotated[
        bool, typer.Option("--crops", help="Write what is in each box into a folder for each class.")
    ] = False,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Report this class alone; may be given several times."),
    ] = None,
    soft_nms: Annotated[
        Literal["linear", "gaussian"] | None,
        typer.Option(
            "--soft-nms", help="Lower the scores of overlapping boxes of a class instead of dropping them."
        ),
    ] = None,
    every: Annotated[int, typer.Option(metavar="N", min=1, help="Look at every N-th frame of videos.")] = 1,
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
        bool, typer.Option("--strict", help="Stop at the first source that cannot be read; status 2.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    allow_custom: AllowCustom = False,
    json_file: JsonFile = None,
) -> None:
    """Run a trained detector on images and videos.

    What cannot be read is skipped and listed; then the exit status is 1. The same command, with the same
    --out, does what is not done there: after Ctrl-C or a kill, images that were skipped, new drawings.
    """
    from detkit.runtime.progress import ProgressLine
    from detkit.workflows import predict as workflow

    with ProgressLine("predictions") as progress:
        folder, records = workflow.predict(
            weights,
            sources,
            out=out,
            format=file_format,
            draw=draw,
            crops=crops,
            classes=classes,
            soft_nms=soft_nms,
            every=every,
            tile=tile,
            augment=augment,
            threshold=number_or_aim(threshold),
            device=device,
            allow_custom=allow_custom,
            strict=strict,
            on_image=progress,
        )
    if not records:  # another process than the first
        return
    deliver(records, json_file, _lines(records, folder, progress.seconds, hints=threshold is None))
    if records.skipped:
        raise typer.Exit(NO)


def number_or_aim(text: str | None) -> float | Aim | None:
    """Return a number where the text is one; what else it may be is known where it is used."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return cast("Aim", text)


def _lines(records: Records, folder: Path, seconds: float, *, hints: bool) -> Iterator[str]:
    """Yield a line for each image and video, a hint where most have nothing, and what was done in all."""
    num_images = num_frames = empty = 0
    for (name, is_video), group in groupby(records, lambda one: (one["image"], one["frame"] is not None)):
        if is_video:
            frames, with_some, line = _video_summary(group)
            num_frames, empty = num_frames + frames, empty + frames - with_some
            yield f"{name}: {line}"
            continue
        for record in group:
            said = _summary(record)
            num_images, empty = num_images + 1, empty + (said == _NOTHING)
            yield f"{name}: {said}"
    if hints and 2 * empty > len(records):
        yield (
            f"nothing found in {empty:,} of {counted(len(records), 'frame' if num_frames else 'image')}: "
            "what scores below the model's own thresholds is left out; --threshold 0.05 shows it"
        )
    skipped = len(records.skipped)
    rate = f"{counted(num_frames, 'frame')} ({num_frames / max(seconds, 1e-9):.3g} a second)"
    still, of_what = (num_images - skipped, "sources") if num_frames else (num_images, "of them")
    done = [
        *([counted(still, "image")] if still or not num_frames else []),
        *([rate] if num_frames else []),
        *([f"{skipped} {of_what} skipped ({SKIPPED} lists them)"] if skipped else []),
        *([f"{counted(records.left_out, 'other file')} left out"] if records.left_out else []),
        f"score threshold {records.floors}",
    ]
    yield f"{', '.join(done)}; results are in {folder}"


def _video_summary(records: Iterable[dict[str, Any]]) -> tuple[int, int, str]:
    """Return how many frames a video has, in how many something was found, and a line about it."""
    found, frames, with_some = Counter[str](), 0, 0
    for record in records:
        frames, with_some = frames + 1, with_some + bool(record["detections"])
        found.update(str(one["label"]) for one in record["detections"])
    things = ", ".join(f"{number:,} {label}" for label, number in found.most_common()) or _NOTHING
    return frames, with_some, f"{counted(frames, 'frame')}, {with_some:,} with detections: {things}"


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
