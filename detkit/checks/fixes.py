"""Fixes that a corrected copy of a dataset makes, fault by fault."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import Boxes, voc_to_corners, xywh_to_corners
from detkit.checks.doctor import Checked
from detkit.checks.findings import KINDS, Finding
from detkit.checks.roles import role
from detkit.checks.sizes import same_shape
from detkit.checks.survey import UNKNOWN

_BROKEN_IMAGES = ("missing_image", "empty_file", "unreadable_image", "malformed_file")
_BROKEN_OBJECTS = ("not_finite", "degenerate_box", "duplicate_box")
_WRONG_SIZES = ("exif_ignored", "size_swapped", "size_mismatch", "missing_size")
_SHARED = ("split_overlap", "leaked_image")


@dataclass
class Fixes:
    """Differences of a corrected copy.

    Attributes:
        checked: the dataset and what is wrong with it.
        parts: images of each part that stay in it.
        dropped_images: images that are left out altogether.
        dropped_objects: objects that are left out, those of such images included.
        corners: new corner boxes of objects, in pixels of the image as it is seen.
        sizes: new (height, width) of images.
        owners: objects that now belong to another image.
        ids: new ids of objects.
        done: findings that the copy does not have any more.
    """

    checked: Checked
    parts: dict[str, list[int]]
    dropped_images: set[int] = field(default_factory=set)
    dropped_objects: set[int] = field(default_factory=set)
    corners: dict[int, Boxes] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    ids: dict[int, int] = field(default_factory=dict)
    done: list[Finding] = field(default_factory=list)

    @staticmethod
    def of(checked: Checked) -> Fixes:
        """Return what is to be done about the findings of a check."""
        fixes = Fixes(checked, {name: list(images) for name, images in checked.survey.parts.items()})
        by_kind: dict[str, list[Finding]] = defaultdict(list)
        for finding in checked.findings:
            by_kind[finding.kind].append(finding)
        _images(fixes, by_kind)
        _objects(fixes, by_kind)
        with np.errstate(invalid="ignore", over="ignore"):  # of numbers that are none
            _boxes(fixes, by_kind)
        fixes.done = [finding for finding in checked.findings if fixes._does(finding)]
        return fixes

    @property
    def left(self) -> list[Finding]:
        """Errors that the copy still has."""
        done = set(map(id, self.done))
        return [f for f in self.checked.findings if f.is_error and id(f) not in done]

    def changed(self, image: int, rows: list[int]) -> bool:
        """Return whether anything about an image or its objects, given by their rows, is different."""
        return image in self.sizes or any(row in self.corners or row in self.dropped_objects for row in rows)

    def rows_of_images(self) -> list[list[int]]:
        """Return the rows of the objects of each image."""
        rows: list[list[int]] = [[] for _ in self.checked.survey.files]
        for row, owner in enumerate(self.checked.survey.owners):
            if owner != UNKNOWN:
                rows[owner].append(row)
        return rows

    def to_json(self) -> list[dict[str, str | None]]:
        """Return the list of changes."""
        return [
            {"kind": f.kind, "file": f.file, "object": f.object, "change": KINDS[f.kind].fix}
            for f in self.done
        ]

    def _does(self, finding: Finding) -> bool:
        if not KINDS[finding.kind].fix:
            return False
        if finding.kind == "malformed_file":
            return bool(finding.images)
        if finding.kind == "unknown_class":
            return self.dropped_objects.issuperset(finding.objects)
        return True


def _images(fixes: Fixes, by_kind: dict[str, list[Finding]]) -> None:
    """Leave images out: of the dataset, or of the training split."""
    survey = fixes.checked.survey
    for kind in _BROKEN_IMAGES:
        fixes.dropped_images.update(image for finding in by_kind[kind] for image in finding.images)
    for image, first in _listed_twice(fixes, by_kind["duplicate_file_name"]):
        fixes.dropped_images.add(image)
        rows = (row for row, owner in enumerate(survey.owners) if owner == image)
        fixes.owners.update(dict.fromkeys(rows, first))
    files = {survey.files[image] for kind in _SHARED for f in by_kind[kind] for image in f.images}
    roles = [(("train", "val", "test").index(str(role(part))), part) for part in survey.parts if role(part)]
    last: dict[object, int] = {}
    for order, part in roles:
        for image in survey.parts[part]:
            last[survey.files[image]] = max(order, last.get(survey.files[image], 0))
    leaked = {survey.files[image] for f in by_kind["leaked_image"] for image in f.images}
    for order, part in roles:
        fixes.parts[part] = [
            image
            for image in fixes.parts[part]
            if survey.files[image] not in files
            or (survey.files[image] not in leaked and last[survey.files[image]] == order)
        ]
    was = {image for images in survey.parts.values() for image in images}
    still = {image for images in fixes.parts.values() for image in images}
    fixes.dropped_images |= was - still
    for part, images in fixes.parts.items():
        fixes.parts[part] = [image for image in images if image not in fixes.dropped_images]


def _listed_twice(fixes: Fixes, findings: list[Finding]) -> Iterator[tuple[int, int]]:
    """Yield the images of later entries with that of the first entry."""
    survey = fixes.checked.survey
    for finding in findings:
        for image in finding.images:
            yield (
                image,
                next(
                    other
                    for other, file in enumerate(survey.files)
                    if file == survey.files[image] and survey.sources[other] == survey.sources[image]
                ),
            )


def _objects(fixes: Fixes, by_kind: dict[str, list[Finding]]) -> None:
    """Leave objects out, and give those that share an id another."""
    survey, dropped = fixes.checked.survey, fixes.dropped_objects
    for row, (label, whole) in enumerate(zip(survey.labels, survey.whole, strict=True)):
        owner = fixes.owners.get(row, survey.owners[row])
        if UNKNOWN in (owner, label) or not whole or owner in fixes.dropped_images:
            dropped.add(row)
    for kind in _BROKEN_OBJECTS:
        dropped.update(row for finding in by_kind[kind] for row in finding.objects)
    free = max(survey.numbers, default=0) + 1
    for finding in by_kind["duplicate_annotation_id"]:
        for row in finding.objects:
            fixes.ids[row] = free
            free += 1


def _boxes(fixes: Fixes, by_kind: dict[str, list[Finding]]) -> None:
    """Rewrite boxes, and correct sizes."""
    checked = fixes.checked
    objects = checked.objects
    seen, drawn_on = checked.sizes.of_objects(objects)
    corners = objects.corners(drawn_on)
    changed = np.zeros(len(corners), dtype=np.bool_)
    for explanation in checked.explained:
        corners[explanation.all_rows] = explanation.corners
        changed[explanation.all_rows] = True
    for kind, reading in (
        ("normalised_box", _scaled_up),
        ("pixel_box", _centred),
        ("swapped_corners", _sorted),
    ):
        rows = np.asarray([row for f in by_kind[kind] for row in f.objects], dtype=np.int64)
        corners[rows] = reading(
            objects.boxes[rows], drawn_on[rows], objects.is_voc[rows], objects.is_yolo[rows]
        )
        changed[rows] = True
    changed[[row for f in by_kind["outside_box"] for row in f.objects]] = True
    for kind in _WRONG_SIZES:
        for image in (image for finding in by_kind[kind] for image in finding.images):
            height, width = checked.sizes.seen[image].tolist()
            fixes.sizes[image] = (height, width)
            rows = np.flatnonzero(objects.owners == image)
            if kind != "missing_size":
                corners[rows] = _moved(checked, kind, image, corners[rows])
                changed[rows] = True
    limit = np.tile(seen[:, ::-1], 2)
    limit = np.where(limit > 0, limit, np.inf)
    cut = np.clip(corners, 0, limit)
    empty = (cut[:, 2] <= cut[:, 0]) | (cut[:, 3] <= cut[:, 1])
    for row in np.flatnonzero(changed).tolist():
        if empty[row] or not np.isfinite(cut[row]).all():
            fixes.dropped_objects.add(row)
        else:
            fixes.corners[row] = cut[row]


def _moved(checked: Checked, kind: str, image: int, corners: Boxes) -> Boxes:
    """Return where boxes lie in the image as it is seen."""
    decoded_image, annotated = checked.decoded[checked.survey.files[image]], checked.survey.sizes[image]
    if kind == "exif_ignored":
        return turned(corners, annotated, decoded_image.orientation)
    if kind == "size_mismatch" and same_shape(annotated, decoded_image.size):
        scale = np.array([decoded_image.size[1] / annotated[1], decoded_image.size[0] / annotated[0]] * 2)
        corners = corners * scale
    return corners


def turned(corners: Boxes, size: tuple[int, int], orientation: int) -> Boxes:
    """Return boxes after an image is turned and mirrored by an EXIF orientation.

    Args:
        corners: (N, 4) in pixels of the stored image.
        size: (height, width) of the stored image.
        orientation: 1 to 8.

    Example:
        >>> turned(np.array([[0.0, 0.0, 2.0, 1.0]]), (10, 20), 6)  # by 90 degrees clockwise
        array([[ 9.,  0., 10.,  2.]])
    """
    height, width = size
    x1, y1, x2, y2 = corners.T
    if orientation >= 5:
        x1, y1, x2, y2 = y1, x1, y2, x2
        height, width = width, height
    if orientation in (3, 4, 7, 8):
        y1, y2 = height - y2, height - y1
    if orientation in (2, 3, 6, 7):
        x1, x2 = width - x2, width - x1
    return np.stack([x1, y1, x2, y2], axis=1)


def _scaled_up(
    boxes: Boxes, sizes: NDArray[np.int64], voc: NDArray[np.bool_], yolo: NDArray[np.bool_]
) -> Boxes:
    corners: Boxes = np.where(voc[:, None], boxes, xywh_to_corners(boxes)) * np.tile(sizes[:, ::-1], 2)
    return corners


def _centred(
    boxes: Boxes, sizes: NDArray[np.int64], voc: NDArray[np.bool_], yolo: NDArray[np.bool_]
) -> Boxes:
    return xywh_to_corners(np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1))


def _sorted(boxes: Boxes, sizes: NDArray[np.int64], voc: NDArray[np.bool_], yolo: NDArray[np.bool_]) -> Boxes:
    """Return boxes whose corners were swapped; of fractions, in pixels."""
    centred = _centred(boxes, sizes, voc, yolo) * np.tile(sizes[:, ::-1], 2)
    given = np.where(yolo[:, None], centred, np.where(voc[:, None], boxes, xywh_to_corners(boxes)))
    low, high = np.minimum(given[:, :2], given[:, 2:]), np.maximum(given[:, :2], given[:, 2:])
    ordered = np.concatenate([low, high], axis=1)
    corners: Boxes = np.where(voc[:, None], voc_to_corners(ordered), ordered)
    return corners


def below(path: Path, root: Path) -> Path:
    """Return a path relative to a root; the folders of one that lies elsewhere are kept from `images` on."""
    path, root = path.absolute(), root.absolute()
    if path.is_relative_to(root):
        return path.relative_to(root)
    parts = path.parts
    for name in ("images", "labels"):
        if name in parts:
            return Path(*parts[parts.index(name) :])
    return Path(path.name)
