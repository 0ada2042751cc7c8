"""The worst mistakes of a detector, cut out of their images with both boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, groupby, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import points_to_pixels, to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.errors import DETECTION_ERRORS, NO_ERROR
from detkit.evaluation.metrics.overlaps import corner_iou
from detkit.explain.lives import OUTCOMES, LostObjects
from detkit.names import counted
from detkit.report.content import Gallery, Mistakes, Picture, Table
from detkit.report.draw import Image, draw_detections, fit
from detkit.report.operating_point import OperatingPoint

CROP_PX = 320
CONTEXT = 1.8  # side of the crop as a multiple of the box's longer side
LEAST_PX = 48  # side of the crop at least, in pixels of the image
LOST_SHOWN = 30  # crops of objects lost in the same way
NEAR_IOU = 0.1  # detections shown beside a missed object

WORDS = {
    "classification": "wrong class",
    "localisation": "poor box",
    "both": "wrong class, poor box",
    "duplicate": "found twice",
    "background": "nothing there",
}
MISSED, QUIET = "missed", "score too low"
TAGS = tuple(WORDS[kind] for kind in DETECTION_ERRORS)


@dataclass(frozen=True)
class _Mistake:
    """A false detection, or a missed object (then `detection` is None)."""

    image: int
    label: int
    detection: int | None
    object: int | None
    tag: str


@dataclass(frozen=True)
class _Scene:
    """Annotations and detections of all images, with corner boxes and the found key points in pixels."""

    truth: AnnotationSet
    found: DetectionSet
    objects: NDArray[np.float64]
    detections: NDArray[np.float64]
    points: NDArray[np.float64] | None


def worst_mistakes(
    truth: AnnotationSet, point: OperatingPoint, pixels: Callable[[int], Image], *, limit: int = 100
) -> tuple[Mistakes, ...]:
    """Return crops of each class's most confident false detections and largest missed objects, in turns.

    Args:
        truth: the ground truth.
        point: the detections that count.
        pixels: image index to (H, W, 3) uint8 RGB.
        limit: at most so many crops, as many of each class as there are.
    """
    chosen, scene = _choose(truth, point, limit), _scene(truth, point)
    pictures: dict[_Mistake, Picture] = {}
    # Image by image, so that one image is in memory at a time and none is read twice.
    for image in sorted({mistake.image for mistake in chosen}):
        shown = pixels(image)
        pictures |= {mistake: _picture(mistake, shown, scene) for mistake in chosen if mistake.image == image}
    return tuple(
        Mistakes(
            label,
            truth.classes[label],
            f"{point.false[label]:,} false, {point.missed[label]:,} missed",
            tuple(pictures[mistake] for mistake in of_class),
        )
        for label, of_class in groupby(chosen, lambda mistake: mistake.label)
    )


def lost_galleries(
    truth: AnnotationSet, point: OperatingPoint, lost: LostObjects, pixels: Callable[[int], Image]
) -> tuple[Gallery, ...]:
    """Return crops of objects that were lost, by the step that lost them, the largest first.

    Args:
        truth: the ground truth.
        point: the detections that count.
        lost: what became of the objects.
        pixels: image index to (H, W, 3) uint8 RGB.
    """
    images, scene = truth.image_index(), _scene(truth, point)
    galleries = []
    for outcome, count in lost.counts.items():
        if outcome == "found":
            continue
        rows = np.flatnonzero(lost.outcomes == outcome)
        shown = rows[np.argsort(-truth.areas[rows], kind="stable")][:LOST_SHOWN].tolist()
        pictures = []
        for row in shown:
            mistake = _Mistake(int(images[row]), int(truth.labels[row]), None, row, "")
            pictures.append(_picture(mistake, pixels(mistake.image), scene))
        names = tuple(dict.fromkeys(Path(str(truth.image_files[image])).name for image in images[rows]))
        note = counted(count, "object")
        galleries.append(Gallery(f"lost-{outcome}", OUTCOMES[outcome], note, tuple(pictures), names))
    return tuple(galleries)


def lost_table(lost: LostObjects) -> Table:
    """Return how many objects came to what, each name leading to its objects."""
    counts, total = lost.counts, sum(lost.counts.values())
    rows = tuple((OUTCOMES[outcome], count, count / total) for outcome, count in counts.items())
    links = tuple("" if outcome == "found" else f"lost-{outcome}" for outcome in counts)
    return Table(("objects that count", "objects", "share"), rows, ("share",), links=links)


def _scene(truth: AnnotationSet, point: OperatingPoint) -> _Scene:
    found = point.found
    objects, detections = (to_corners(part.boxes, part.box_format) for part in (truth, found))
    points = None if found.keypoints is None else points_to_pixels(found.keypoints, found.box_format)
    return _Scene(truth, found, objects, detections, points)


def _choose(truth: AnnotationSet, point: OperatingPoint, limit: int) -> list[_Mistake]:
    """Return the mistakes to show, by class and there by rank."""
    found, errors = point.found, point.errors
    false = np.flatnonzero(errors.kind != NO_ERROR)
    false = false[np.argsort(-found.scores[false], kind="stable")]
    missed = np.flatnonzero(errors.missed)
    missed = missed[np.argsort(-truth.areas[missed], kind="stable")]
    images = truth.image_index()
    ranked = []
    for k in range(len(truth.classes)):
        wrong = [
            _Mistake(int(found.images[d]), k, int(d), None, TAGS[errors.kind[d]])
            for d in false[found.labels[false] == k][:limit]
        ]
        lost = [
            _Mistake(int(images[m]), k, None, int(m), QUIET if point.quiet[m] else MISSED)
            for m in missed[truth.labels[missed] == k][:limit]
        ]
        turns = (m for m in chain.from_iterable(zip_longest(wrong, lost)) if m is not None)
        ranked += [(rank, k, m) for rank, m in enumerate(turns)]
    shown = sorted(ranked, key=lambda place: place[:2])[:limit]
    return [m for _, _, m in sorted(shown, key=lambda place: (place[1], place[0]))]


def _picture(mistake: _Mistake, image: Image, scene: _Scene) -> Picture:
    truth, found = scene.truth, scene.found
    if mistake.detection is not None:
        box, label = scene.detections[mistake.detection], int(found.labels[mistake.detection])
        caption = f"{truth.classes[label]} {found.scores[mistake.detection]:.2f}"
        detections = [mistake.detection]
        own = range(int(truth.offsets[mistake.image]), int(truth.offsets[mistake.image + 1]))
        objects = [m for m in own if corner_iou(scene.detections, detections[0], scene.objects, m) > 0]
    else:
        assert mistake.object is not None
        objects = [mistake.object]
        box, caption = scene.objects[mistake.object], truth.classes[truth.labels[mistake.object]]
        near = np.flatnonzero(found.images == mistake.image).tolist()
        detections = [
            d for d in near if corner_iou(scene.detections, d, scene.objects, objects[0]) > NEAR_IOU
        ]
    origin, side = _window(box, image)
    x, y = origin.tolist()
    crop = image[y : y + side, x : x + side]
    scale = CROP_PX / max(crop.shape[:2])
    drawn = draw_detections(
        fit(crop, CROP_PX),
        (scene.detections[detections] - np.tile(origin, 2)) * scale,
        found.labels[detections],
        found.scores[detections],
        truth.classes,
        labelled=(scene.objects[objects] - np.tile(origin, 2)) * scale,
        keypoints=None if scene.points is None else (scene.points[detections] - origin) * scale,
        skeleton=truth.layout.skeleton if truth.layout else (),
        weight=2.0,
    )
    return Picture(drawn, caption, mistake.tag, Path(str(truth.image_files[mistake.image])).name)


def _window(box: NDArray[np.float64], image: Image) -> tuple[NDArray[np.int64], int]:
    """Return corner and side of a square around a box, moved into the image, in pixels."""
    height, width = image.shape[:2]
    wanted = max(LEAST_PX, round(CONTEXT * float((box[2:] - box[:2]).max())))
    side = min(wanted, max(height, width))
    corner = np.round((box[:2] + box[2:] - side) / 2).astype(np.int64)
    return np.clip(corner, 0, np.maximum(np.array([width, height]) - side, 0)), side
