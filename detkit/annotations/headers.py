"""Image sizes from file headers, without decoding the pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import image_path
from detkit.errors import UserError

ORIENTATION_TAG = 0x0112


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation (1 to 8) that is left to apply to an opened image's pixels and size.

    It is 1 where none is written before the pixels, and for TIFF, which Pillow and OpenCV turn themselves.
    Nothing is decoded: `getexif` of a PNG without EXIF would read the whole image to look behind it.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    value = image.getexif().get(ORIENTATION_TAG, 1)
    return value if value in range(1, 9) else 1


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) in pixels of an image as it is seen, EXIF orientation applied.

    Raises:
        UserError: the file is missing or is not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = orientation(image) >= 5
    except FileNotFoundError:
        raise UserError(f"{path}: the image does not exist") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image ({error})") from None
    return (width, height) if turned else (height, width)


def with_sizes(truth: AnnotationSet) -> AnnotationSet:
    """Return the set with the sizes that its annotations do not state, (0, 0), read from the images.

    Raises:
        UserError: such an image is missing or unreadable.
    """
    unknown = np.flatnonzero((truth.sizes <= 0).any(axis=1))
    if len(unknown) == 0:
        return truth
    sizes = truth.sizes.copy()
    sizes[unknown] = [image_size(image_path(truth, int(i))) for i in unknown]
    return replace(truth, sizes=sizes)
