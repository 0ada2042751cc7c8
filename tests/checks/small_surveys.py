"""Surveys put together by hand, without a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from detkit.annotations.detect import Format
from detkit.checks.findings import Finding
from detkit.checks.survey import AnnotationGroup, Arrays, Survey

SIZE = (100, 200)
PLACE = Path("all.json")


def survey_of(
    objects: Sequence[tuple[int, str, Sequence[float]]],
    parts: dict[str, list[int]],
    form: Format = "coco",
    size: tuple[int, int] = SIZE,
) -> tuple[Survey, Arrays]:
    """Return a survey of images of one size, and its objects.

    Args:
        objects: (image, class, box as written) of each.
        parts: images of each part; there are as many as the largest number says.
        form: the format.
        size: (height, width) of all images.
    """
    survey = Survey(groups=[AnnotationGroup(form, Path("images"), PLACE)], parts=parts)
    number = max((image for images in parts.values() for image in images), default=-1) + 1
    for image in range(number):
        survey.add_image(Path("images") / f"{image}.jpg", Path(f"{image}.txt"), 0, size)
    for row, (image, name, box) in enumerate(objects):
        survey.add_object(image, survey.label(name), box, row + 1)
    sizes = np.asarray(survey.sizes, dtype=np.int64).reshape(-1, 2)
    return survey, survey.arrays(sizes, sizes)


def told(findings: Iterable[Finding]) -> list[tuple[str, str | None, str]]:
    """Return kind, object and message of findings."""
    return [(finding.kind, finding.object, finding.message) for finding in findings]
