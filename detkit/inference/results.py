"""Files of predictions: JSON, COCO results, VOC XML, YOLO text or CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np

from detkit.annotations.coordinates import corners_to_voc, corners_to_xywh, points_from_pixels
from detkit.errors import UserError
from detkit.inference.prediction import Prediction
from detkit.inference.records import Records
from detkit.names import file_name, one_file, one_line
from detkit.storage.atomic import durable_file, write_atomically
from detkit.storage.json_text import json_bytes

ResultFormat = Literal["json", "coco", "voc", "yolo", "csv"]
SKIPPED = "skipped.json"
_MOST_DIGITS = 18  # of a number of 64 bits
_COLUMNS = ("image", "label", "category_id", "score", "x1", "y1", "x2", "y2")


def image_files(sources: Sequence[Path], folder: Path, result_format: ResultFormat) -> list[Path] | None:
    """Return the file of each image, named after it, for a format that has one for each; None for others.

    Args:
        sources: the images.
        folder: where the files go; it exists.
        result_format: `voc` and `yolo` have a file an image.

    Raises:
        UserError: two images share a name that a file of their own would get.
    """
    if result_format not in _OF_ONE_IMAGE:
        return None
    suffix, _ = _OF_ONE_IMAGE[result_format]
    names = [f"{file_name(source.stem)}{suffix}" for source in sources]
    same = one_file(names, folder)
    if same is not None:
        first, second = (sources[place] for place in same)
        raise UserError(
            f"{first} and {second} would both be written to {names[same[1]]}; "
            "predict them into different folders, or take --format json"
        )
    return [folder / name for name in names]


def write_image_file(file: Path, prediction: Prediction, result_format: ResultFormat) -> None:
    """Write what was found in one image: `voc` as XML, with a score; `yolo` as class, centre, size, score.

    Raises:
        UserError: the file cannot be written.
    """
    _, text_of = _OF_ONE_IMAGE[result_format]
    write_atomically(file, text_of(prediction), sync=False)


def write_results(
    records: Records, sources: Sequence[Path], folder: Path, result_format: ResultFormat
) -> None:
    """Write the file of all images, one record after another, and the list of those that were skipped.

    `json` (a list of `record`) and `coco` (a list of COCO results; image ids are the file names where all are
    numbers, otherwise 1, 2, ...) go to `detections.json`, `csv` to `detections.csv`; others have none.
    Where images were skipped, `skipped.json` is a list of `{image, error}`, whatever the format.

    Args:
        records: what was found so far.
        sources: the paths of all the images.
        folder: where the files go.
        result_format: the format.

    Raises:
        UserError: a file cannot be written.
    """
    if result_format in _OF_ALL_IMAGES:
        _OF_ALL_IMAGES[result_format](records, sources, folder)
    if records.skipped:
        write_atomically(folder / SKIPPED, json_bytes(records.skipped, indented=True).decode() + "\n")
    else:
        (folder / SKIPPED).unlink(missing_ok=True)


def record(prediction: Prediction, category_ids: Sequence[int]) -> dict[str, Any]:
    """Return a prediction as plain values: image, width, height, detections and error.

    Args:
        prediction: what was found in one image.
        category_ids: ids of the classes in the dataset.

    Returns:
        `{image, width, height, detections[{box, label, category_id, score, margin, keypoints}], error}`; a
        box is x1, y1, x2, y2 in pixels; a margin is that of an SVM, of which the score is the logistic
        function, and keypoints are [x, y] in pixels of each point, both None without one. Of an image that
        could not be read, width and height are None and error says why.
    """
    height, width = prediction.size if prediction.error is None else (None, None)
    margins = [None] * len(prediction) if prediction.margins is None else prediction.margins.tolist()
    points = [None] * len(prediction) if prediction.keypoints is None else prediction.keypoints.tolist()
    detections = [
        {
            "box": box,
            "label": name,
            "category_id": int(category_ids[label]),
            "score": score,
            "margin": margin,
            "keypoints": own,
        }
        for box, name, label, score, margin, own in zip(
            prediction.boxes.tolist(),
            prediction.names,
            prediction.labels.tolist(),
            prediction.scores.tolist(),
            margins,
            points,
            strict=True,
        )
    ]
    return {
        "image": prediction.source,
        "width": width,
        "height": height,
        "detections": detections,
        "error": prediction.error,
    }


def coco_results(record: dict[str, Any], image_id: int) -> list[dict[str, Any]]:
    """Return a `record` as COCO results, `{image_id, category_id, bbox[x, y, width, height], score}`.

    With key points each has `keypoints` too, x, y and 1 of every point.
    """
    found = record["detections"]
    corners = np.asarray([one["box"] for one in found], dtype=np.float64).reshape(-1, 4)
    results = [
        {"image_id": image_id, "category_id": one["category_id"], "bbox": box, "score": one["score"]}
        for one, box in zip(found, corners_to_xywh(corners).tolist(), strict=True)
    ]
    for one, result in zip(found, results, strict=True):
        if one["keypoints"] is not None:
            points = points_from_pixels(np.asarray(one["keypoints"]), "coco")
            result["keypoints"] = [value for x, y in points.tolist() for value in (x, y, 1)]
    return results


def number_of(stem: str) -> int | None:
    """Return the number that a file is called by, as COCO's images are; None where its name is none."""
    return int(stem) if stem.isdecimal() and len(stem) <= _MOST_DIGITS else None


def _json(records: Records, sources: Sequence[Path], folder: Path) -> None:
    with durable_file(folder / "detections.json") as part, part.open("wb") as stream:
        before = b"[\n"
        for one in records:
            stream.write(before + json_bytes(one))
            before = b",\n"
        stream.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _csv(records: Records, sources: Sequence[Path], folder: Path) -> None:
    with (
        durable_file(folder / "detections.csv") as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(_COLUMNS)
        for one in records:
            for found in one["detections"]:
                table.writerow(
                    [one["image"], found["label"], found["category_id"], found["score"], *found["box"]]
                )


def _coco(records: Records, sources: Sequence[Path], folder: Path) -> None:
    ids = _image_ids(sources)
    with durable_file(folder / "detections.json") as part, part.open("wb") as stream:
        before = b"["
        for place, one in zip(records.places, records, strict=True):
            for result in coco_results(one, ids[place]):
                stream.write(before + json_bytes(result))
                before = b","
        stream.write(b"[]" if before == b"[" else b"]")


def _image_ids(sources: Sequence[Path]) -> Sequence[int]:
    numbers = [number for source in sources if (number := number_of(source.stem)) is not None]
    return numbers if len(set(numbers)) == len(sources) else range(1, len(sources) + 1)


def _voc_text(prediction: Prediction) -> str:
    height, width = prediction.size
    lines = [
        "<annotation>",
        f"  <filename>{escape(one_line(PurePath(prediction.source or '').name))}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    boxes = corners_to_voc(prediction.boxes.astype(np.float64)).tolist()
    for name, score, (x1, y1, x2, y2) in zip(
        prediction.names, prediction.scores.tolist(), boxes, strict=True
    ):
        corners = f"<xmin>{x1:.2f}</xmin><ymin>{y1:.2f}</ymin><xmax>{x2:.2f}</xmax><ymax>{y2:.2f}</ymax>"
        lines.append(
            f"  <object><name>{escape(one_line(name))}</name><difficult>0</difficult>"
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


_OF_ONE_IMAGE: dict[str, tuple[str, Callable[[Prediction], str]]] = {
    "voc": (".xml", _voc_text),
    "yolo": (".txt", _yolo_text),
}
_OF_ALL_IMAGES: dict[str, Callable[[Records, Sequence[Path], Path], None]] = {
    "json": _json,
    "coco": _coco,
    "csv": _csv,
}
