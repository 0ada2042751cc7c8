"""Checks for duplicate boxes, and for images without any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detkit.checks.findings import Finding, found
from detkit.checks.sizes import Sizes
from detkit.checks.survey import UNKNOWN, Arrays, Survey

_STEP_PX = 0.01  # boxes closer than this are the same
_FARTHEST_PX = 1e12  # what is beyond is as far, and still a whole number


def check_repeats(survey: Survey, objects: Arrays, sizes: Sizes) -> Iterator[Finding]:
    """Yield objects with the same box as an earlier one of their image, of the same class or another.

    Args:
        survey: the annotations.
        objects: of the survey.
        sizes: of its images.
    """
    seen, _ = sizes.of_objects(objects)
    corners = objects.corners(seen)
    known = np.isfinite(corners).all(axis=1) & (seen > 0).all(axis=1)
    rows = np.flatnonzero((objects.owners != UNKNOWN) & known & objects.whole & ~objects.crowd)
    keys = np.round(np.clip(corners[rows], -_FARTHEST_PX, _FARTHEST_PX) / _STEP_PX).astype(np.int64)
    order = np.lexsort((rows, *keys.T, objects.owners[rows]))
    rows, keys = rows[order], keys[order]
    if len(rows) < 2:
        return
    same = (keys[1:] == keys[:-1]).all(axis=1) & (objects.owners[rows[1:]] == objects.owners[rows[:-1]])
    starts = np.concatenate([[0], np.flatnonzero(~same) + 1, [len(rows)]])
    for at in np.flatnonzero(np.diff(starts) > 1).tolist():
        yield from _one_place(survey, rows[starts[at] : starts[at + 1]].tolist())


def _one_place(survey: Survey, rows: list[int]) -> Iterator[Finding]:
    """Yield what is wrong with objects that share a box."""
    first: dict[int, int] = {}
    for row in rows:
        label = survey.labels[row]
        source, image = survey.sources[survey.owners[row]], survey.files[survey.owners[row]].name
        if label in first:
            message = f"{image}: the same box and class as {survey.object_name(first[label])}"
            yield found("duplicate_box", source, survey.object_name(row), message, objects=[row])
        elif first:
            other = next(iter(first.values()))
            message = f"{image}: the same box as {survey.object_name(other)}, of another class"
            yield found("conflicting_class", source, survey.object_name(row), message, objects=[row])
        first.setdefault(label, row)


def check_empty(survey: Survey, objects: Arrays) -> Iterator[Finding]:
    """Yield images without objects, and training splits without any."""
    counts = np.bincount(objects.owners[objects.owners != UNKNOWN], minlength=len(survey.files))
    for image in np.flatnonzero(counts == 0).tolist():
        if survey.annotated[image]:
            message = f"{survey.files[image].name} has no objects; it is kept as background"
            yield found(
                "empty_image", survey.sources[image], survey.files[image].name, message, images=[image]
            )
    if survey.files and not counts.any():
        yield found("no_objects", survey.sources[0], None, f"{len(survey.files)} images, but no object")
    elif survey.files:
        for part, images in survey.parts.items():
            if images and not counts[images].any():
                message = f"{len(images)} images, but no object"
                yield found("no_objects", survey.sources[images[0]], part, message)
