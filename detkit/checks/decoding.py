"""Decoded image files of a dataset, and checks of them."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detkit.annotations.image_files import is_missing, orientation, read_image
from detkit.checks.findings import Finding, found
from detkit.checks.survey import Survey, without_file
from detkit.data.datasets.image_screen import remember_decoded
from detkit.data.images import Pixels, decode_bytes
from detkit.data.near_duplicates import thumbnail_of
from detkit.errors import UserError
from detkit.runtime.thread_map import map_threads

_COLOURS = ("RGB", "P", "RGBA", "PA")
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
}

_BLOCK = 1 << 20

LONGEST_IMAGE = 5.0
"""Sides of an image in a ratio of more than this are worth a word: a resize leaves its objects tiny."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Facts about an image file whose pixels were decoded.

    Attributes:
        fault: the kind of fault for which it cannot be read; empty if it can.
        message: what the fault is.
        size: (height, width) in pixels as it is seen; (0, 0) where it cannot be read.
        orientation: EXIF orientation, 1 to 8.
        odd_mode: says which pixels it has that are not 8-bit colours; empty otherwise.
        wrong_suffix: the format that its content has where its name says another; empty otherwise.
        digest: of the file's content.
        thumbnail: see `thumbnail_of`; None where it cannot be read.
        blank: whether all pixels have the same colour.
    """

    fault: str = ""
    message: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    odd_mode: str = ""
    wrong_suffix: str = ""
    digest: bytes = b""
    thumbnail: NDArray[np.uint8] | None = None
    blank: bool = False


def look_at(survey: Survey, num_threads: int, done: Callable[[int], None]) -> dict[Path, DecodedImage]:
    """Decode every image, several at the same time.

    Args:
        survey: names the files.
        num_threads: how many at a time.
        done: called after each image how many are done.
    """
    decoded, refused = {}, survey.refused_files()

    def seen(path: Path) -> DecodedImage:
        if path in refused:
            return DecodedImage("unreadable_image", f"not opened: {refused[path]}")
        return look(path)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are findings here
        paths = list(dict.fromkeys(survey.files))
        for path, decoded_image in zip(paths, map_threads(seen, paths, num_threads), strict=True):
            decoded[path] = decoded_image
            done(len(decoded))
    remember_decoded(
        {
            str(path): f"{path}: {seen.message}" if seen.fault else ""
            for path, seen in decoded.items()
            if path not in refused
        }
    )
    return decoded


def look(path: Path) -> DecodedImage:
    """Decode one image file; whatever is wrong with it comes back as its fault."""
    if is_missing(path):
        return DecodedImage("missing_image", "the image does not exist")
    try:
        data = read_image(path)
    except UserError as error:
        return DecodedImage("unreadable_image", without_file(error, path))
    if not data:
        return DecodedImage("empty_file", "the file is empty")
    try:
        return _seen(path, data)
    except UserError as error:
        return DecodedImage("unreadable_image", str(error))
    except Exception as error:  # a damaged file makes a decoder fail in any way
        return DecodedImage("unreadable_image", f"the image is damaged ({type(error).__name__}: {error})")


def _seen(path: Path, data: bytes) -> DecodedImage:
    pixels = decode_bytes(data)
    with Image.open(io.BytesIO(data)) as image:
        turn, mode, kind = orientation(image), image.mode, image.format or ""
        frames = int(getattr(image, "n_frames", 1))
        alpha = "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa")
    height, width = pixels.shape[:2]
    return DecodedImage(
        size=(height, width),
        orientation=turn,
        odd_mode=_odd(mode, alpha, frames),
        wrong_suffix=kind if path.suffix.lower() not in _SUFFIXES.get(kind, (path.suffix.lower(),)) else "",
        digest=digest_of(data),
        thumbnail=thumbnail_of(data, pixels),
        blank=_is_blank(pixels),
    )


def _is_blank(pixels: Pixels) -> bool:
    """Return whether all pixels of an (H, W, 3) image have one colour: each value is that of a pixel before.

    By blocks, because an image may have a million rows.
    """
    values = pixels.reshape(-1)
    here, next_pixel = values[:-3], values[3:]
    return all(
        np.array_equal(here[start : start + _BLOCK], next_pixel[start : start + _BLOCK])
        for start in range(0, len(here), _BLOCK)
    )


def digest_of(data: bytes) -> bytes:
    """Return what tells contents of files apart."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _odd(mode: str, alpha: bool, frames: int) -> str:
    oddities = []
    if mode.startswith(("I", "F")):
        oddities.append("more than 8 bits a value, which are divided to 8")
    elif mode in ("1", "L", "LA"):
        oddities.append("grey, which becomes three equal channels")
    elif mode not in _COLOURS:
        oddities.append(f"{mode}, which is converted plainly")
    if alpha:
        oddities.append("an alpha channel, which is dropped")
    if frames > 1:
        oddities.append(f"{frames} frames or pages, of which the first is taken")
    return "; ".join(oddities)


def check_images(survey: Survey, decoded: Mapping[Path, DecodedImage]) -> Iterator[Finding]:
    """Yield what is wrong or unusual with image files, each reported once.

    Args:
        survey: names the files.
        decoded: facts about each.
    """
    positions: dict[Path, list[int]] = defaultdict(list)
    for image, path in enumerate(survey.files):
        positions[path].append(image)
    # Where most images are grey, that is what the dataset consists of, and not worth a word for each.
    grey = [decoded_image.odd_mode.startswith("grey") for decoded_image in decoded.values()]
    plain_grey = 2 * sum(grey) > len(grey)
    for path, images in positions.items():
        decoded_image = decoded[path]
        if decoded_image.fault:
            message = decoded_image.message
            if decoded_image.fault == "missing_image":
                message += f"; wanted by {survey.sources[images[0]]}"
            yield found(decoded_image.fault, path, None, message, images=images)
            continue
        if decoded_image.wrong_suffix:
            message = (
                f"the content is {decoded_image.wrong_suffix}, which is read; other tools go by the name"
            )
            yield found("wrong_extension", path, None, message, images=images)
        if decoded_image.odd_mode and not (plain_grey and decoded_image.odd_mode.startswith("grey")):
            yield found("image_mode", path, None, f"it has {decoded_image.odd_mode}", images=images)
        if decoded_image.blank:
            yield found("blank_image", path, None, "all pixels have the same colour", images=images)
        height, width = decoded_image.size
        if max(height, width) > LONGEST_IMAGE * min(height, width):
            message = f"the image is {width}x{height} pixels: cut it, or its objects become tiny"
            yield found("extreme_aspect", path, None, message, images=images)
