"""Writers of predictions: JSON, COCO results, VOC XML, YOLO text or CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np
import orjson

from detkit.annotations.coordinates import corners_to_voc, corners_to_xywh
from detkit.errors import UserError
from detkit.inference.predictor import Prediction
from detkit.storage.atomic import durable_file, write_atomically

ResultFormat = Literal["json", "coco", "voc", "yolo", "csv"]
_COLUMNS = ("image", "label", "category_id", "score", "x1", "y1", "x2", "y2")


def write_predictions(
    predictions: Iterable[Prediction], folder: Path, result_format: ResultFormat, category_ids: Sequence[int]
) -> Iterator[Prediction]:
    """Write predictions while they come, and pass them on.

    `json` and `coco` and `csv` make one file each, `detections.json` or `detections.csv`, which appears
    when all is done; `voc` and `yolo` one file an image, named after it. All but COCO need no more
    memory for more images.

    Args:
        predictions: what a detector found; each has the path of its image.
        folder: where the files go.
        result_format: json (a list of `record`), coco (a list of COCO results; image ids are the file
            names where all are numbers, otherwise 1, 2, ...), voc (XML, with a score), yolo (class,
            centre, size and score) or csv.
        category_ids: ids of the classes in the dataset.

    Raises:
        UserError: two images share a name that a file of their own would get.
    """
    writers: dict[ResultFormat, Callable[..., Iterator[Prediction]]] = {
        "json": _json,
        "coco": _coco,
        "voc": partial(_one_file_each, suffix=".xml", text=_voc_text),
        "yolo": partial(_one_file_each, suffix=".txt", text=_yolo_text),
        "csv": _csv,
    }
    return writers[result_format](predictions, folder, category_ids)


def record(prediction: Prediction, category_ids: Sequence[int]) -> dict[str, Any]:
    """Return a prediction as plain values: image, width, height and detections.

    Args:
        prediction: what was found in one image.
        category_ids: ids of the classes in the dataset.

    Returns:
        `{image, width, height, detections[{box, label, category_id, score}]}`; a box is x1, y1, x2, y2
        in pixels.
    """
    height, width = prediction.size
    detections = [
        {"box": box, "label": name, "category_id": int(category_ids[label]), "score": score}
        for box, name, label, score in zip(
            prediction.boxes.tolist(),
            prediction.names,
            prediction.labels.tolist(),
            prediction.scores.tolist(),
            strict=True,
        )
    ]
    return {"image": prediction.source, "width": width, "height": height, "detections": detections}


def _json(predictions: Iterable[Prediction], folder: Path, ids: Sequence[int]) -> Iterator[Prediction]:
    with durable_file(folder / "detections.json") as part, part.open("wb") as stream:
        before = b"[\n"
        for prediction in predictions:
            stream.write(before + orjson.dumps(record(prediction, ids)))
            before = b",\n"
            yield prediction
        stream.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _csv(predictions: Iterable[Prediction], folder: Path, ids: Sequence[int]) -> Iterator[Prediction]:
    with (
        durable_file(folder / "detections.csv") as part,
        part.open("w", encoding="utf-8", newline="") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for prediction in predictions:
            for found in record(prediction, ids)["detections"]:
                table.writerow(
                    [prediction.source, found["label"], found["category_id"], found["score"], *found["box"]]
                )
            yield prediction


def _coco(predictions: Iterable[Prediction], folder: Path, ids: Sequence[int]) -> Iterator[Prediction]:
    stems: list[str] = []
    results: list[dict[str, Any]] = []
    for prediction in predictions:
        stems.append(PurePath(prediction.source or "").stem)
        boxes = corners_to_xywh(prediction.boxes.astype(np.float64)).tolist()
        results += [
            {
                "image_id": len(stems),
                "category_id": found["category_id"],
                "bbox": box,
                "score": found["score"],
            }
            for found, box in zip(record(prediction, ids)["detections"], boxes, strict=True)
        ]
        yield prediction
    if all(stem.isdecimal() for stem in stems) and len(set(map(int, stems))) == len(stems):
        results = [result | {"image_id": int(stems[result["image_id"] - 1])} for result in results]
    write_atomically(folder / "detections.json", orjson.dumps(results))


def _one_file_each(
    predictions: Iterable[Prediction],
    folder: Path,
    ids: Sequence[int],
    *,
    suffix: str,
    text: Callable[[Prediction], str],
) -> Iterator[Prediction]:
    owners: dict[str, str] = {}
    for prediction in predictions:
        source = prediction.source or ""
        stem = PurePath(source).stem
        if owners.setdefault(stem, source) != source:
            raise UserError(
                f"{owners[stem]} and {source} would both be written to {stem}{suffix}; "
                "predict them into different folders, or take --format json"
            )
        write_atomically(folder / f"{stem}{suffix}", text(prediction), sync=False)
        yield prediction


def _voc_text(prediction: Prediction) -> str:
    height, width = prediction.size
    lines = [
        "<annotation>",
        f"  <filename>{escape(PurePath(prediction.source or '').name)}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    boxes = corners_to_voc(prediction.boxes.astype(np.float64)).tolist()
    for name, score, (x1, y1, x2, y2) in zip(
        prediction.names, prediction.scores.tolist(), boxes, strict=True
    ):
        corners = f"<xmin>{x1:.2f}</xmin><ymin>{y1:.2f}</ymin><xmax>{x2:.2f}</xmax><ymax>{y2:.2f}</ymax>"
        lines.append(
            f"  <object><name>{escape(name)}</name><difficult>0</difficult>"
            f"<bndbox>{corners}</bndbox><score>{score:.6f}</score></object>"
        )
    return "\n".join([*lines, "</annotation>\n"])


def _yolo_text(prediction: Prediction) -> str:
    height, width = prediction.size
    boxes = prediction.boxes.astype(np.float64) / [width, height, width, height]
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    rows = zip(
        prediction.labels.tolist(), centres.tolist(), sides.tolist(), prediction.scores.tolist(), strict=True
    )
    return "".join(
        f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}\n" for label, (x, y), (w, h), score in rows
    )
