"""The worst mistakes of a detector, cut out of their images with both boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.matching import FALSE_POSITIVE, MatchRecords
from detkit.report.content import Picture
from detkit.report.draw import draw_comparison, fit
from detkit.report.lettering import Image

CROP_PX = 320
CONTEXT = 1.8  # side of the crop as a multiple of the box's longer side
LEAST_PX = 48  # side of the crop at least, in pixels of the image


@dataclass(frozen=True)
class _Mistake:
    image: int
    detection: int | None
    object: int | None


def worst_mistakes(
    truth: AnnotationSet,
    found: DetectionSet,
    records: MatchRecords,
    pixels: Callable[[int], Image],
    *,
    iou: float = 0.5,
    limit: int = 50,
) -> tuple[Picture, ...]:
    """Return crops of the most confident false detections and the largest missed objects, in turns.

    Args:
        truth: the labelled objects.
        found: the detections, in the box format of `truth`.
        records: what became of each of them.
        pixels: image index to (H, W, 3) uint8 RGB.
        iou: the threshold whose records are used.
        limit: at most so many crops.
    """
    column = records.at(iou)
    chosen = _choose(truth, found, records, column)[:limit]
    boxes = to_corners(truth.boxes, truth.box_format), to_corners(found.boxes, found.box_format)
    pictures: dict[_Mistake, Picture] = {}
    # Image by image, so that one image is in memory at a time and none is read twice.
    for image in sorted({mistake.image for mistake in chosen}):
        shown = pixels(image)
        for mistake in chosen:
            if mistake.image == image:
                pictures[mistake] = _picture(mistake, shown, truth, found, boxes)
    return tuple(pictures[mistake] for mistake in chosen)


def _choose(truth: AnnotationSet, found: DetectionSet, records: MatchRecords, column: int) -> list[_Mistake]:
    false = np.flatnonzero(records.state[:, column] == FALSE_POSITIVE)
    false = false[np.argsort(-found.scores[false], kind="stable")]
    missed = np.flatnonzero((records.found_by[:, column] < 0) & ~truth.difficult & ~truth.crowd)
    missed = missed[np.argsort(-truth.areas[missed], kind="stable")]
    images = truth.image_index()
    wrong = [_Mistake(int(found.images[d]), int(d), None) for d in false]
    lost = [_Mistake(int(images[m]), None, int(m)) for m in missed]
    return [m for m in chain.from_iterable(zip_longest(wrong, lost)) if m is not None]


def _picture(
    mistake: _Mistake,
    image: Image,
    truth: AnnotationSet,
    found: DetectionSet,
    boxes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Picture:
    truth_boxes, found_boxes = boxes
    objects = np.arange(truth.offsets[mistake.image], truth.offsets[mistake.image + 1])
    file = Path(str(truth.image_files[mistake.image])).name
    if mistake.detection is not None:
        shown = np.array([mistake.detection])
        box, label = found_boxes[mistake.detection], int(found.labels[mistake.detection])
        best = _overlap(box, truth_boxes[objects])
        tag = _kind(label, truth.labels[objects], best)
        caption = f"{truth.classes[label]} {found.scores[mistake.detection]:.2f}"
        objects = objects[best > 0]
    else:
        assert mistake.object is not None
        box, label = truth_boxes[mistake.object], int(truth.labels[mistake.object])
        shown = np.flatnonzero(found.images == mistake.image)
        shown = shown[_overlap(box, found_boxes[shown]) > 0.1]
        tag, caption = "missed", truth.classes[label]
        objects = np.array([mistake.object])
    origin, side = _window(box, image)
    x, y = origin.tolist()
    crop = image[y : y + side, x : x + side]
    scale = CROP_PX / max(crop.shape[:2])
    drawn = draw_comparison(
        fit(crop, CROP_PX),
        (truth_boxes[objects] - np.tile(origin, 2)) * scale,
        (found_boxes[shown] - np.tile(origin, 2)) * scale,
        found.labels[shown],
        found.scores[shown],
        truth.classes,
        weight=2.0,
    )
    return Picture(drawn, caption, tag, file)


def _kind(label: int, labels: NDArray[np.int32], overlap: NDArray[np.float64]) -> str:
    """Return why a detection is false, in two words."""
    same = overlap[labels == label].max(initial=0.0)
    other = overlap[labels != label].max(initial=0.0)
    if same >= 0.5:
        return "found twice"
    if other >= 0.5:
        return "wrong class"
    return "poor box" if same >= 0.1 else "background"


def _window(box: NDArray[np.float64], image: Image) -> tuple[NDArray[np.int64], int]:
    """Return corner and side of a square around a box, moved into the image, in pixels."""
    height, width = image.shape[:2]
    wanted = max(LEAST_PX, round(CONTEXT * float((box[2:] - box[:2]).max())))
    side = min(wanted, max(height, width))
    corner = np.round((box[:2] + box[2:] - side) / 2).astype(np.int64)
    return np.clip(corner, 0, np.maximum(np.array([width, height]) - side, 0)), side


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N,) IoU of one corner box with others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.prod(np.maximum(sides, 0.0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    share: NDArray[np.float64] = common / np.maximum(areas - common, 1e-12)
    return share
