"""Checks of the image files themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from detkit.checks.findings import Finding, found
from detkit.checks.pictures import Picture
from detkit.checks.survey import Survey

LONGEST_IMAGE = 5.0
"""Sides of an image in a ratio of more than this are worth a word: a resize leaves its objects tiny."""


def check_images(survey: Survey, pictures: Mapping[Path, Picture]) -> Iterator[Finding]:
    """Yield what is wrong or unusual with image files, each told once.

    Args:
        survey: names the files.
        pictures: what was seen of each.
    """
    positions: dict[Path, list[int]] = defaultdict(list)
    for image, path in enumerate(survey.files):
        positions[path].append(image)
    plain_grey = _is_mostly_grey(pictures)
    for path, images in positions.items():
        picture = pictures[path]
        if picture.fault:
            wanted = f"; wanted by {survey.sources[images[0]]}" if picture.fault == "missing_image" else ""
            yield found(picture.fault, path, None, picture.told + wanted, images=images)
            continue
        if picture.wrong_suffix:
            told = f"the content is {picture.wrong_suffix}, which is read; other tools go by the name"
            yield found("wrong_extension", path, None, told, images=images)
        if picture.odd_mode and not (plain_grey and picture.odd_mode.startswith("grey")):
            yield found("image_mode", path, None, f"it has {picture.odd_mode}", images=images)
        if picture.blank:
            yield found("blank_image", path, None, "all pixels have the same colour", images=images)
        height, width = picture.size
        if max(height, width) > LONGEST_IMAGE * min(height, width):
            told = f"the image is {width}x{height} pixels: cut it, or its objects become tiny"
            yield found("extreme_aspect", path, None, told, images=images)


def _is_mostly_grey(pictures: Mapping[Path, Picture]) -> bool:
    """Return whether grey is what this dataset consists of, and so not worth a word for each image."""
    grey = sum(picture.odd_mode.startswith("grey") for picture in pictures.values())
    return 2 * grey > len(pictures)
