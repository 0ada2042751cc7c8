"""Looks at image files: header, every pixel, and a small likeness to compare them by."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detkit.annotations.image_files import orientation
from detkit.checks.findings import Finding, found
from detkit.checks.survey import Survey
from detkit.data.images import decode_bytes
from detkit.errors import UserError
from detkit.runtime.thread_map import side_by_side

LIKENESS_PX = 32
_PLAIN_MODES = ("RGB", "P")
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
}

LONGEST_IMAGE = 5.0
"""Sides of an image in a ratio of more than this are worth a word: a resize leaves its objects tiny."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of an image file after its pixels were decoded.

    Attributes:
        fault: the kind of fault for which it cannot be read; empty if it can.
        told: what was found: of the fault, or of its mode.
        size: (height, width) in pixels as it is seen; (0, 0) where it cannot be read.
        orientation: EXIF orientation, 1 to 8.
        odd_mode: says which pixels it has that are not 8-bit colours; empty otherwise.
        wrong_suffix: the format that its content has where its name says another; empty otherwise.
        digest: of the file's content.
        likeness: (LIKENESS_PX, LIKENESS_PX) uint8 grey; None where it cannot be read.
        blank: whether all pixels have the same colour.
    """

    fault: str
    told: str
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    odd_mode: str = ""
    wrong_suffix: str = ""
    digest: bytes = b""
    likeness: NDArray[np.uint8] | None = None
    blank: bool = False


def look_at(
    paths: Sequence[Path], num_threads: int, done: Callable[[int], None] = lambda count: None
) -> dict[Path, Picture]:
    """Decode every image, several at the same time.

    Args:
        paths: the files.
        num_threads: how many at a time.
        done: told after each image how many are done.
    """
    pictures = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are told of here
        for count, (path, picture) in enumerate(
            zip(paths, side_by_side(look, paths, num_threads), strict=True), start=1
        ):
            pictures[path] = picture
            done(count)
    return pictures


def look(path: Path) -> Picture:
    """Decode one image file; whatever is wrong with it comes back as its fault."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Picture("missing_image", "the image does not exist")
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte in it
        return Picture("unreadable_image", f"cannot be read ({error})")
    if not data:
        return Picture("empty_file", "the file is empty")
    try:
        return _seen(path, data)
    except UserError as error:
        return Picture("unreadable_image", str(error))
    except Exception as error:  # a damaged file makes a decoder fail in any way
        return Picture("unreadable_image", f"the image is damaged ({type(error).__name__}: {error})")


def _seen(path: Path, data: bytes) -> Picture:
    pixels = decode_bytes(data)
    with Image.open(io.BytesIO(data)) as image:
        turn, mode, kind = orientation(image), image.mode, image.format or ""
        frames = int(getattr(image, "n_frames", 1))
        alpha = "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa")
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (LIKENESS_PX, LIKENESS_PX), interpolation=cv2.INTER_AREA)
    return Picture(
        fault="",
        told="",
        size=(height, width),
        orientation=turn,
        odd_mode=_odd(mode, alpha, frames),
        wrong_suffix=kind if path.suffix.lower() not in _SUFFIXES.get(kind, (path.suffix.lower(),)) else "",
        digest=hashlib.blake2b(data, digest_size=16).digest(),
        likeness=np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8),
        blank=bool((pixels == pixels[0, 0]).all()),
    )


def _odd(mode: str, alpha: bool, frames: int) -> str:
    told = []
    if mode.startswith(("I", "F")):
        told.append("more than 8 bits a value, which are divided to 8")
    elif mode in ("1", "L", "LA"):
        told.append("grey, which becomes three equal channels")
    elif mode not in _PLAIN_MODES and mode not in ("RGBA", "PA"):
        told.append(f"{mode}, which is converted plainly")
    if alpha:
        told.append("an alpha channel, which is dropped")
    if frames > 1:
        told.append(f"{frames} frames or pages, of which the first is taken")
    return "; ".join(told)


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
