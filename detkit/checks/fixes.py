"""Fixes that a corrected copy of a dataset makes, fault by fault."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.class_names import free_ids
from detkit.annotations.coordinates import Boxes, voc_to_corners
from detkit.checks.doctor import Checked
from detkit.checks.findings import KINDS, Finding, found
from detkit.checks.sizes import same_shape
from detkit.checks.survey import UNKNOWN, Arrays
from detkit.data.datasets.roles import ROLES, role

_ByKind = dict[str, list[int]]
"""Images or rows of objects that findings of each kind are about."""

_BROKEN_IMAGES = ("missing_image", "empty_file", "unreadable_image", "malformed_file")
_BROKEN_OBJECTS = ("not_finite", "degenerate_box", "duplicate_box")
_WRONG_SIZES = ("exif_ignored", "size_swapped", "size_mismatch", "missing_size")


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
        images: _ByKind = defaultdict(list)
        objects: _ByKind = defaultdict(list)
        for finding in checked.findings:
            images[finding.kind] += finding.images
            objects[finding.kind] += finding.objects
        _leave_out_images(fixes, images)
        _leave_out_objects(fixes, objects)
        with np.errstate(invalid="ignore", over="ignore"):  # of numbers that are none
            _rewrite_boxes(fixes, images, objects)
        fixes.done = [finding for finding in checked.findings if fixes._does(finding)]
        return fixes

    @property
    def left(self) -> list[Finding]:
        """Errors that the copy still has, or has because nothing of a part is left."""
        done = set(map(id, self.done))
        left = [f for f in self.checked.findings if f.is_error and id(f) not in done]
        owners = enumerate(self.checked.survey.owners)
        holding = {self.owners.get(row, o) for row, o in owners if row not in self.dropped_objects}
        known = {f.object for f in left if f.kind == "no_objects"}
        if None not in known:
            left += [
                found("no_objects", None, part, "without what is wrong, no object is left")
                for part, images in self.parts.items()
                if part not in known and self.checked.survey.parts[part] and holding.isdisjoint(images)
            ]
        return left

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


def _leave_out_images(fixes: Fixes, flagged: _ByKind) -> None:
    """Leave images out: of the dataset, or of the training split."""
    survey = fixes.checked.survey
    for kind in _BROKEN_IMAGES:
        fixes.dropped_images.update(flagged[kind])
    entries = list(zip(survey.group, survey.files, strict=True))
    for image in flagged["duplicate_file_name"]:
        fixes.dropped_images.add(image)
        rows = (row for row, owner in enumerate(survey.owners) if owner == image)
        fixes.owners.update(dict.fromkeys(rows, entries.index(entries[image])))
    leaked = {survey.files[image] for image in flagged["leaked_image"]}
    shared = leaked | {survey.files[image] for image in flagged["split_overlap"]}
    orders = [(ROLES.index(name), part) for part in survey.parts if (name := role(part))]
    last: dict[Path, int] = {}
    for order, part in orders:
        for image in survey.parts[part]:
            last[survey.files[image]] = max(order, last.get(survey.files[image], 0))
    for order, part in orders:
        fixes.parts[part] = [
            image
            for image in fixes.parts[part]
            if (file := survey.files[image]) not in shared or (file not in leaked and last[file] == order)
        ]
    was = {image for images in survey.parts.values() for image in images}
    still = {image for images in fixes.parts.values() for image in images}
    fixes.dropped_images |= was - still
    for part, images in fixes.parts.items():
        fixes.parts[part] = [image for image in images if image not in fixes.dropped_images]


def _leave_out_objects(fixes: Fixes, flagged: _ByKind) -> None:
    """Leave objects out, and give those that share an id another."""
    survey, dropped = fixes.checked.survey, fixes.dropped_objects
    for row, (label, whole) in enumerate(zip(survey.labels, survey.whole, strict=True)):
        owner = fixes.owners.get(row, survey.owners[row])
        if UNKNOWN in (owner, label) or not whole or owner in fixes.dropped_images:
            dropped.add(row)
    for kind in _BROKEN_OBJECTS:
        dropped.update(flagged[kind])
    rows = flagged["duplicate_annotation_id"]
    fixes.ids.update(zip(rows, free_ids(survey.numbers, len(rows)), strict=True))


def _rewrite_boxes(fixes: Fixes, images: _ByKind, flagged: _ByKind) -> None:
    """Rewrite boxes, and correct sizes."""
    checked, objects = fixes.checked, fixes.checked.objects
    corners = objects.drawn_corners.copy()
    changed = np.zeros(len(corners), dtype=np.bool_)
    for explanation in checked.explained:
        corners[explanation.rows] = explanation.corners
        changed[explanation.rows] = True
    scale = np.tile(objects.drawn_on[:, ::-1], 2)
    rows = flagged["normalised_box"]
    corners[rows] = objects.unscaled[rows] * scale[rows]
    rows = flagged["pixel_box"]
    corners[rows] = objects.unscaled[rows]
    rows = flagged["swapped_corners"]
    corners[rows] = _swapped_back(objects, scale)[rows]
    for kind in ("normalised_box", "pixel_box", "swapped_corners", "outside_box"):
        changed[flagged[kind]] = True
    for kind in _WRONG_SIZES:
        for image in images[kind]:
            height, width = checked.seen[image].tolist()
            fixes.sizes[image] = (height, width)
            owned = objects.owners == image
            if kind != "missing_size":
                corners[owned] = _moved(checked, kind, image, corners[owned])
                changed[owned] = True
    limit = np.tile(objects.seen[:, ::-1], 2)
    cut = np.clip(corners, 0, np.where(limit > 0, limit, np.inf))
    empty = (cut[:, 2] <= cut[:, 0]) | (cut[:, 3] <= cut[:, 1])
    for row in np.flatnonzero(changed).tolist():
        if empty[row] or not np.isfinite(cut[row]).all():
            fixes.dropped_objects.add(row)
        else:
            fixes.corners[row] = cut[row]


def _swapped_back(objects: Arrays, scale: NDArray[np.int64]) -> Boxes:
    """Return (M, 4) boxes in pixels whose corners are in order, whichever way they were written."""
    given = np.where(objects.is_yolo[:, None], objects.unscaled * scale, objects.unscaled)
    low, high = np.minimum(given[:, :2], given[:, 2:]), np.maximum(given[:, :2], given[:, 2:])
    ordered = np.concatenate([low, high], axis=1)
    return np.where(objects.is_voc[:, None], voc_to_corners(ordered), ordered)


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
