"""Image decoding, the one way from a file to pixels."""

from __future__ import annotations

import io
import os
import struct
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from detkit.annotations.image_files import orientation, read_image, require_pixels
from detkit.annotations.image_places import unfit
from detkit.errors import UserError
from detkit.storage.atomic import write_atomically

Pixels = NDArray[np.uint8]

_NO_RANGE = "pixels of mode {!r} have no stated range; convert the image to 8 or 16 bits a value"
_PNG_DEPTH_AT = 24  # in bytes: signature 8, chunk head 8, width 4, height 4
_TIFF_DEPTH_TAG = 258  # BitsPerSample
_BAND_PIXELS = 1 << 24
_LARGE_PIXELS = 1 << 26
_REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}
_alone = [Lock()]
"""Held while a large image is decoded: in a dozen threads a dozen of them would fill the memory."""

if hasattr(os, "register_at_fork"):  # the lock may be held by a thread that the new process does not have
    os.register_at_fork(after_in_child=lambda: _alone.__setitem__(0, Lock()))


def decode_image(path: Path) -> Pixels:
    """Read an image file as it is meant to be seen.

    The rules, for every format that Pillow opens (JPEG, PNG, TIFF, BMP, WebP, GIF, ...):

    - EXIF orientation is applied, once; `annotations.image_files.image_size` gives the same height and width.
    - Grey becomes three equal channels, a palette its colours, CMYK is converted by Pillow's plain rule.
    - Alpha is dropped: the stored colours are kept, also where they are transparent.
    - 16-bit values are divided by 257 and rounded, so that 0..65535 becomes 0..255; there is no
      stretching by image. 32-bit and floating-point pixels have no such range and are refused.
    - Of several frames or pages the first is taken.
    - A truncated file is an error, never a half-grey image.

    Args:
        path: the file.

    Returns:
        (height, width, 3) uint8 RGB, contiguous and writable.

    Raises:
        UserError: the file is missing, empty, truncated, too large or not an image; it is named.
    """
    data = read_image(path)
    try:
        return decode_bytes(data)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def decode_bytes(data: bytes) -> Pixels:
    """Return the pixels of an encoded image; see `decode_image` for the rules.

    Args:
        data: content of an image file.

    Raises:
        UserError: the data is empty, truncated or not an image.
    """
    if not data:
        raise UserError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            require_pixels(*image.size)
            turn = orientation(image)
            with _room_for(image):
                pixels = _decoded(image, data)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"not an image that can be read (it begins with {data[:4]!r})") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"the image is too large ({error}); cut it into tiles") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes a decoder fail in any way
        raise UserError(f"the image is truncated or damaged ({str(error) or type(error).__name__})") from None
    return orient(pixels, turn)


def decode_reduced(data: bytes, least_px: int) -> Pixels | None:
    """Return the grey pixels of a large JPEG at a half, a quarter or an eighth of its size.

    The decoder computes only these, which takes a fraction of the time. What is wrong with a file that cannot
    be read, `decode_bytes` says.

    Args:
        data: content of an image file.
        least_px: what is left of the short side at least.

    Returns:
        (height, width) uint8, turned as EXIF says; None where the image is no JPEG of three channels, is
        progressive, is not large enough, or cannot be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            require_pixels(*image.size)
            short, turn = min(image.size), orientation(image)
            flags = next((flags for by, flags in _REDUCED.items() if short >= by * least_px), None)
            if flags is None or image.format != "JPEG" or image.mode != "RGB":
                return None
            if image.info.get("progressive"):  # all of its scans are read for any size: nothing is saved
                return None
            with _room_for(image):
                pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # a damaged file makes a decoder fail in any way
        return None
    return None if pixels is None else orient(cast(Pixels, pixels), turn)


def pixels_of_pil(image: Image.Image) -> Pixels:
    """Return the pixels of a PIL image by the rules of `decode_image`, but not turned: as it has them.

    Raises:
        UserError: it is too large, its values have no stated range, or its file turns out to be damaged.
    """
    require_pixels(*image.size)
    try:
        if image.mode.startswith("I;16"):
            return np.repeat(_eight_bits(np.asarray(image))[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise UserError(_NO_RANGE.format(image.mode))
        return _plain_pixels(image)
    except (OSError, SyntaxError, EOFError, struct.error) as error:
        raise UserError(f"the image is truncated or damaged ({error})") from None


def has_frames(path: Path) -> bool:
    """Return whether an image file has several frames or pages, of which `decode_image` takes the first."""
    if unfit(path):
        return False
    try:
        with Image.open(path) as image:
            return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # whoever decodes it hears what is wrong
        return False


def _room_for(image: Image.Image) -> AbstractContextManager[object]:
    """Return what is to be held while an image is decoded; see `_alone`."""
    return _alone[0] if image.width * image.height > _LARGE_PIXELS else nullcontext()


def _decoded(image: Image.Image, data: bytes) -> Pixels:
    if _is_deep(image, data):
        return _deep_pixels(data, image)
    fast = _jpeg_pixels(data, image)
    return _plain_pixels(image) if fast is None else fast


def copy_image(source: Path, target: Path) -> None:
    """Copy an image file, byte for byte, if its content can be decoded.

    Raises:
        UserError: it cannot be read or decoded, or the copy cannot be written.
    """
    data = read_image(source)
    try:
        decode_bytes(data)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    write_atomically(target, data, sync=False)


def orient(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror pixels by an EXIF orientation.

    Args:
        pixels: (H, W, 3) or (H, W).
        orientation: 1 to 8 as EXIF defines it; 5 to 8 swap height and width.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    vertical = orientation in (3, 4, 7, 8)
    horizontal = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1])


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Return whether an opened image stores more than 8 bits for each value."""
    if image.format == "PNG":
        return data[_PNG_DEPTH_AT] == 16
    if image.format == "TIFF" and isinstance(image, TiffImageFile):
        return any(depth > 8 for depth in image.tag_v2.get(_TIFF_DEPTH_TAG, ()))
    return image.mode.startswith(("I", "F"))


def _jpeg_pixels(data: bytes, image: Image.Image) -> Pixels | None:
    """Return the pixels of an ordinary JPEG by OpenCV, in half the time; None for all that needs Pillow.

    Both wrap libjpeg-turbo and give the same bits. Pillow reads grey and CMYK by its own rules, and says
    what is wrong with a damaged file, of which OpenCV returns nothing.
    """
    if image.format != "JPEG" or image.mode != "RGB":
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cast(Pixels | None, cv2.imdecode(np.frombuffer(data, np.uint8), flags))


def _plain_pixels(image: Image.Image) -> Pixels:
    """Return the pixels of an image, converted band by band: a large one is not held three times over."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    step = max(1, _BAND_PIXELS // width)
    for top in range(0, height, step):
        end = min(top + step, height)
        band = image if step >= height else image.crop((0, top, width, end))
        pixels[top:end] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return pixels


def _deep_pixels(data: bytes, image: Image.Image) -> Pixels:
    mode = image.mode
    if mode == "F":  # of which OpenCV writes to stderr
        raise UserError(_NO_RANGE.format(mode))
    image.load()  # reports truncation, which OpenCV may pass over
    image.close()  # its pixels are not needed
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None or pixels.dtype != np.uint16:
        raise UserError(_NO_RANGE.format(mode))
    rows = max(1, _BAND_PIXELS // pixels.shape[1])
    result = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), rows):
        result[top : top + rows] = _eight_bits(pixels[top : top + rows, :, ::-1])
    return result


def _eight_bits(values: NDArray[Any]) -> Pixels:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
