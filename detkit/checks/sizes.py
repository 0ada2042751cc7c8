"""Checks of annotated image sizes against the images, EXIF orientation included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.checks.decoding import DecodedImage
from detkit.checks.findings import Finding, found
from detkit.checks.survey import UNKNOWN, Arrays, Survey

_SAME_SHAPE = 0.01
"""Two images have the same shape if the ratios of their sides differ by less than this share."""


def image_sizes(
    survey: Survey, decoded: Mapping[Path, DecodedImage]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the (N, 2) height and width of each image as it is seen, and those its boxes were drawn in.

    Seen is what was decoded and turned; the annotated size where the image cannot be read, (0, 0) where it is
    unknown. Where the two differ, boxes seem to have been drawn in the annotated one.
    """
    annotated = np.asarray(survey.sizes, dtype=np.int64).reshape(-1, 2)
    seen = np.asarray([decoded[path].size for path in survey.files], dtype=np.int64).reshape(-1, 2)
    seen = np.where(seen > 0, seen, annotated)
    return seen, np.where(annotated > 0, annotated, seen)


def check_sizes(survey: Survey, decoded: Mapping[Path, DecodedImage], objects: Arrays) -> Iterator[Finding]:
    """Yield images whose annotated size is another than the one decoded, and what that means.

    Args:
        survey: the annotations.
        decoded: what was seen of each file.
        objects: of the survey.
    """
    reach = _reach(objects, len(survey.files))
    for image, path in enumerate(survey.files):
        decoded_image, annotated = decoded[path], survey.sizes[image]
        if decoded_image.fault:
            continue
        place, kind = survey.sources[image], survey.groups[survey.group[image]].format
        if annotated not in ((0, 0), decoded_image.size):
            fault, message = _difference(decoded_image, annotated, reach[image])
            yield found(fault, place, path.name, message, images=[image])
            continue
        if annotated == (0, 0) and kind != "yolo" and survey.annotated[image]:
            message = f"no size is stated; the image is {_shown(decoded_image.size)}"
            yield found("missing_size", place, path.name, message, images=[image])
        if decoded_image.orientation != 1:
            yield found("exif_turned", path, None, _turned(decoded_image, kind), images=[image])


def _difference(
    decoded_image: DecodedImage, annotated: tuple[int, int], reach: NDArray[np.float64]
) -> tuple[str, str]:
    message = f"the annotation says {_shown(annotated)}, the image is {_shown(decoded_image.size)}"
    if annotated == decoded_image.size[::-1]:
        if decoded_image.orientation >= 5:
            return "exif_ignored", (
                f"{message} once its EXIF orientation ({decoded_image.orientation}) is applied: the labels "
                "belong to the image before it is turned"
            )
        fit = "fit" if (reach <= np.asarray(decoded_image.size) + 1).all() else "do not fit"
        return "size_swapped", f"{message}; its boxes {fit} the image"
    if same_shape(annotated, decoded_image.size):
        return "size_mismatch", (
            f"{message}: the same shape, so the image was resized after it was labelled, by "
            f"{decoded_image.size[0] / annotated[0]:.3g}"
        )
    return "size_mismatch", f"{message}: another image, or a wrong size"


def same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Return whether two (height, width) have the same ratio.

    Example:
        >>> same_shape((480, 640), (240, 320)), same_shape((480, 640), (480, 480))
        (True, False)
    """
    ratios = second[0] / first[0], second[1] / first[1]
    return abs(ratios[0] / ratios[1] - 1) < _SAME_SHAPE


def _turned(decoded_image: DecodedImage, kind: str) -> str:
    known = (
        "labels do not say on which they were drawn" if kind == "yolo" else "its labels fit the turned one"
    )
    return (
        f"EXIF orientation {decoded_image.orientation} turns it to {_shown(decoded_image.size)}; detkit "
        f"applies that, not every tool does; {known}"
    )


def _reach(objects: Arrays, num_images: int) -> NDArray[np.float64]:
    """Return how far (down, right) the boxes of each image reach."""
    reach = np.zeros((num_images, 2))
    known = (objects.owners != UNKNOWN) & np.isfinite(objects.corners).all(axis=1)
    np.maximum.at(reach, objects.owners[known], objects.corners[known][:, [3, 2]])
    return reach


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]} (width x height)"
