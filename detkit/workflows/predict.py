"""`detkit predict`: run a trained detector on images."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from detkit.data.datasets.named_images import find_images
from detkit.data.images import decode_image
from detkit.inference.model_file import model_path
from detkit.inference.prediction import Prediction
from detkit.inference.predictor import predict_together
from detkit.inference.results import Records, ResultFormat, record, write_predictions
from detkit.inference.score_floor import Aim
from detkit.names import file_name
from detkit.report.draw import draw_detections, write_image
from detkit.runs.predictor import build_predictor
from detkit.runtime.cores import num_workers
from detkit.runtime.processes import from_main, process_group, rank
from detkit.storage.content_keys import key_of
from detkit.storage.run_folder import results_folder

DRAWN = "drawn"


def predict(
    weights: str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    format: ResultFormat = "json",
    draw: bool = False,
    tile: int | None = None,
    threshold: float | Aim | None = None,
    device: str = "auto",
    allow_custom: bool = False,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, Records]:
    """Run a trained detector on images, write what it finds and draw it.

    Processes that torchrun started share the images; the first one writes. Memory does not grow with the
    number of images.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        sources: image files, folders (with all below them) and glob patterns.
        out: folder for the results, new or empty, or with what the same prediction left when it was stopped;
            None takes a new one in runs/.
        format: json, coco, voc, yolo or csv.
        draw: also write each image with its detections into drawn/.
        tile: side of tiles in pixels, to find small objects in large images.
        threshold: lowest score reported; f1, precision or recall take each class's own, and None the one of
            best F1 where the model file holds it, otherwise 0.5.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.
        on_image: called with images done and in all.

    Returns:
        The folder, and one record an image: image, width, height and detections, read from a file when it is
        asked for. No record in the processes that are not the first.

    Raises:
        UserError: the weights or an image cannot be read, nothing matches a source, or the
            threshold is none of these.
    """
    weights, files = model_path(weights), find_images(sources)
    predictor = build_predictor(weights, device, allow_custom=allow_custom)
    what = (str(weights.absolute()), [str(file) for file in files], format, draw, tile, threshold)
    with process_group(predictor.session.device), ExitStack() as held:
        stream = predict_together(
            predictor,
            files,
            threshold=threshold,
            tile_px=tile,
            batch_size=1 if predictor.session.device.type == "cpu" else 8,
            threads=max(1, num_workers(None)),
        )
        opened = results_folder(out, "predict", key_of("predict", *what))
        folder = from_main(lambda: held.enter_context(opened))
        if rank() != 0:
            deque(stream, maxlen=0)
            return folder, Records(folder)
        shutil.rmtree(folder / DRAWN, ignore_errors=True)  # of the same prediction, when it was stopped
        records = Records(folder)
        written = write_predictions(stream, files, folder, format, predictor.category_ids)
        for number, found in enumerate(written, start=1):
            records.add(record(found, predictor.category_ids))
            if draw:
                shown = _best(found) if predictor.classifies_images else found
                _draw(shown, folder / DRAWN, predictor.classes)
            on_image(number, len(files))
    return folder, records


def _best(found: Prediction) -> Prediction:
    """Return the likeliest class alone: all have the image as their box, and one would hide another."""
    return found[:1]


def _draw(found: Prediction, folder: Path, classes: Sequence[str]) -> None:
    """Write an image with its detections, under a free name: two folders may hold images of one name."""
    source = Path(str(found.source))
    file, number = folder / f"{file_name(source.stem)}.jpg", 1
    while file.exists():
        number += 1
        file = folder / f"{file_name(f'{source.stem}-{number}')}.jpg"
    write_image(file, draw_detections(decode_image(source), found.boxes, found.labels, found.scores, classes))
