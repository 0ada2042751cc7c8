"""Checks of annotated image sizes against the images, EXIF orientation included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.checks.decoding import DecodedImage
from detkit.checks.findings import Finding, found
from detkit.checks.survey import UNKNOWN, Arrays, Survey

_SAME_SHAPE = 0.01
"""Two images have the same shape if the ratios of their sides differ by less than this share."""


@dataclass(frozen=True)
class Sizes:
    """Heights and widths of N images.

    Attributes:
        seen: as decoded and turned; the annotated where the image cannot be read, (0, 0) where unknown.
        drawn_on: in which boxes seem to have been drawn: the annotated ones where the two differ.
    """

    seen: NDArray[np.int64]
    drawn_on: NDArray[np.int64]

    @staticmethod
    def of(survey: Survey, decoded: Mapping[Path, DecodedImage]) -> Sizes:
        """Return the sizes of a survey's images."""
        annotated = np.asarray(survey.sizes, dtype=np.int64).reshape(-1, 2)
        seen = np.asarray([decoded[path].size for path in survey.files], dtype=np.int64).reshape(-1, 2)
        seen = np.where(seen > 0, seen, annotated)
        return Sizes(seen, np.where(annotated > 0, annotated, seen))

    def of_objects(self, objects: Arrays) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the (M, 2) sizes seen and drawn on of each object's image; (0, 0) without an image."""
        nowhere = np.zeros((1, 2), dtype=np.int64)  # UNKNOWN is the last row
        return (
            np.concatenate([self.seen, nowhere])[objects.owners],
            np.concatenate([self.drawn_on, nowhere])[objects.owners],
        )


def check_sizes(
    survey: Survey, decoded: Mapping[Path, DecodedImage], sizes: Sizes, objects: Arrays
) -> Iterator[Finding]:
    """Yield images whose annotated size is another than the one decoded, and what that means.

    Args:
        survey: the annotations.
        decoded: what was seen of each file.
        sizes: of the images.
        objects: of the survey.
    """
    reach = _reach(objects, sizes)
    for image, path in enumerate(survey.files):
        decoded_image, annotated = decoded[path], survey.sizes[image]
        if decoded_image.fault:
            continue
        place, kind = survey.sources[image], survey.groups[survey.group[image]].format
        thing = str(path.name)
        if annotated == (0, 0):
            if kind != "yolo" and survey.annotated[image]:
                message = f"no size is stated; the image is {_shown(decoded_image.size)}"
                yield found("missing_size", place, thing, message, images=[image])
            if decoded_image.orientation != 1:
                yield found("exif_turned", path, None, _turned(decoded_image, kind), images=[image])
        elif annotated == decoded_image.size:
            if decoded_image.orientation != 1:
                yield found("exif_turned", path, None, _turned(decoded_image, kind), images=[image])
        else:
            fault, message = _difference(decoded_image, annotated, reach[image])
            yield found(fault, place, thing, message, images=[image])


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
        fits = (
            "its boxes fit the image"
            if _fits(reach, decoded_image.size)
            else "its boxes do not fit the image"
        )
        return "size_swapped", f"{message}; {fits}"
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


def _reach(objects: Arrays, sizes: Sizes) -> NDArray[np.float64]:
    """Return how far (down, right) the boxes of each image reach."""
    seen, _ = sizes.of_objects(objects)
    corners = objects.corners(seen)
    reach = np.zeros((len(sizes.seen), 2))
    known = (objects.owners != UNKNOWN) & np.isfinite(corners).all(axis=1)
    np.maximum.at(reach, objects.owners[known], corners[known][:, [3, 2]])
    return reach


def _fits(reach: NDArray[np.float64], size: tuple[int, int]) -> bool:
    return bool((reach <= np.asarray(size) + 1).all())


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]} (width x height)"
