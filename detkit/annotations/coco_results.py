"""Reader and writer of COCO results: one JSON list of image, category, box and score."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.annotations.class_names import LARGEST_ID, listed
from detkit.annotations.coco import Record, box_column, column, number_array, paused_collection, read_json
from detkit.annotations.coordinates import boxes_as, points_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.annotations.keypoints import Keypoints
from detkit.annotations.validity import FARTHEST_PX
from detkit.errors import UserError, shown
from detkit.names import counted
from detkit.storage.atomic import write_atomically
from detkit.storage.regular_files import is_file

PIECE = 1 << 17  # bytes; the records of so much text stay in the processor's cache
SPACE = b" \n\r\t"


class PlainResult(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One record of a results file that has nothing unusual."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


DECODER = msgspec.json.Decoder(list[PlainResult])


class Results(NamedTuple):
    """D results as they stand in a file.

    Attributes:
        image_ids: (D,).
        category_ids: (D,).
        boxes: (D, 4) x y width height.
        scores: (D,).
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]


@paused_collection()
def read_coco_results(file: str | Path, truth: AnnotationSet) -> DetectionSet:
    """Read COCO results for the images of a set, in the set's own box format.

    Args:
        file: a JSON list of {image_id, category_id, bbox: [x, y, width, height], score}, perhaps with
            keypoints: [x, y, 1, ...].
        truth: the set whose image and category ids the file uses.

    Raises:
        UserError: the file is malformed, or has an image or category that the set does not have.
    """
    file = Path(file)
    quick = read_plain_results(file)
    if quick is not None:
        images = positions(quick.image_ids, truth.image_ids)
        labels = positions(quick.category_ids, truth.category_ids)
        if (images >= 0).all() and (labels >= 0).all() and (np.abs(quick.boxes) <= FARTHEST_PX).all():
            return _detections(images, labels, quick.scores, quick.boxes, truth)
    content = read_json(file)
    if not isinstance(content, list):
        raise UserError(f"{file}: COCO results are a list of detections; found {type(content).__name__}")
    images = _look_up(content, "image_id", truth.image_ids, file)
    labels = _look_up(content, "category_id", truth.category_ids, file)
    boxes = box_column(content, "results", file)
    values = column(content, "score", "results", file)
    scores = number_array(values)
    if scores is None or scores.shape != (len(values),):
        bad = next(i for i, value in enumerate(values) if not isinstance(value, int | float))
        raise UserError(f"{file}: results[{bad}]: score must be a number; found {shown(values[bad])}")
    found = _detections(images, labels, scores, boxes, truth)
    if not any("keypoints" in record for record in content):
        return found
    return replace(found, keypoints=_points(content, truth, file))


def _points(content: list[Record], truth: AnnotationSet, file: Path) -> Keypoints:
    """Return the (D, P, 2) key points of all results, in the set's own convention."""
    values = column(content, "keypoints", "results", file)
    points = number_array(values)
    if points is None or points.ndim != 2 or points.shape[1] % 3 or not (np.abs(points) <= FARTHEST_PX).all():
        raise UserError(f"{file}: keypoints must be x, y and a number of as many points in every result")
    return points_as(points.reshape(len(content), -1, 3)[:, :, :2], "coco", truth.box_format)


def _detections(
    images: NDArray[np.int64],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    boxes: NDArray[np.float64],
    truth: AnnotationSet,
) -> DetectionSet:
    boxes = boxes_as(boxes, "coco", truth.box_format)
    return DetectionSet(images, labels.astype(np.int32), scores, boxes, truth.box_format)


@paused_collection()
def read_plain_results(file: Path) -> Results | None:
    """Read a file of plain results piece by piece; None where anything about it is unusual or wrong.

    Unusual are other keys, ids that are no 64-bit integers, scores that are no finite number, an empty list.
    """
    if not is_file(file):
        return None
    text, parts = file.read_bytes(), []
    at, end = text.find(b"[") + 1, text.rfind(b"]")
    if (text[: max(at - 1, 0)] + text[end + 1 :]).strip(SPACE):
        return None
    try:
        while at <= end:
            cut = text.find(b"},", at + PIECE, end) + 1 or end
            parts.append(_columns(DECODER.decode(b"[%b]" % text[at:cut])))
            at = cut + 1
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError):
        return None
    if not all(len(part.scores) for part in parts):  # nothing behind a last comma, which is no JSON
        return None
    return Results(*map(np.concatenate, zip(*parts, strict=True))) if parts else None


def _columns(records: list[PlainResult]) -> Results:
    count = len(records)
    return Results(
        np.fromiter([r.image_id for r in records], np.int64, count),
        np.fromiter([r.category_id for r in records], np.int64, count),
        np.fromiter(chain.from_iterable([r.bbox for r in records]), np.float64, 4 * count).reshape(-1, 4),
        np.fromiter([r.score for r in records], np.float64, count),
    )


def write_coco_results(file: Path, detections: DetectionSet, truth: AnnotationSet) -> None:
    """Write detections as COCO results with the set's own image and category ids; numbers stay exact."""
    boxes = boxes_as(detections.boxes, detections.box_format, "coco")
    records = [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, box, score in zip(
            truth.image_ids[detections.images].tolist(),
            truth.category_ids[detections.labels].tolist(),
            boxes.tolist(),
            detections.scores.tolist(),
            strict=True,
        )
    ]
    if detections.keypoints is not None:
        points = points_as(detections.keypoints, detections.box_format, "coco")
        flat = np.concatenate([points, np.ones_like(points[:, :, :1])], axis=2).reshape(len(points), -1)
        for record, own in zip(records, flat.tolist(), strict=True):
            record["keypoints"] = own
    write_atomically(file, orjson.dumps(records))


def _look_up(records: list[Record], key: str, ids: NDArray[np.int64], file: Path) -> NDArray[np.int64]:
    table = {value: position for position, value in enumerate(ids.tolist())}
    values = column(records, key, "results", file)
    try:
        return np.asarray([table[value] for value in values], dtype=np.int64)
    except (KeyError, TypeError):
        unknown = [(i, v) for i, v in enumerate(values) if not isinstance(v, int | float) or v not in table]
        examples = ", ".join(f"{shown(v)} (results[{i}])" for i, v in unknown[:3])
        raise UserError(
            f"{file}: {counted(len(unknown), 'detection')} whose {key} the annotations lack: "
            f"{examples}; the annotations have {listed(ids.tolist(), 5)}"
        ) from None


def positions(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each id stands among the known ones, -1 for an unknown id.

    Args:
        ids: (D,).
        known: (N,) ids that differ.

    Example:
        >>> positions(np.array([7, 3, 5]), np.array([3, 7]))
        array([ 1,  0, -1])
    """
    if not len(known):
        return np.full(len(ids), -1)
    low, high = int(known.min()), int(known.max())  # of Python, which do not overflow
    if high - low > 4 * (len(ids) + len(known)) or max(high, -low) >= LARGEST_ID:
        order = np.argsort(known)
        at = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
        return np.where(known[at] == ids, at, -1)
    table = np.full(high - low + 3, -1)  # ids below and above have a place of their own
    table[known - low + 1] = np.arange(len(known))
    detections: NDArray[np.int64] = table[np.clip(ids, low - 1, high + 1) - low + 1]
    return detections
