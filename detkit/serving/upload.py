"""Requests with an image: their bodies within bounds, and the image in them."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, cast

import orjson
from fastapi import Request
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from detkit.data.images import Pixels, decode_bytes
from detkit.errors import UserError, cut, shown
from detkit.inference.score_floor import Aim

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
"""Formats that are decoded, by Pillow's names: some others would start programs."""

_DISCARDED = 4  # times the limit: so far a body that is too large is read, or its sender hears no answer
_MOST_CLASSES = 10_000


class Upload(NamedTuple):
    """An image with what is asked about it.

    Attributes:
        image: content of an image file.
        name: the file's, as the sender calls it; None of an image without one.
        threshold: lowest score reported; None where the sender names none.
        classes: names of the classes that are reported; None reports all.
    """

    image: bytes
    name: str | None
    threshold: float | Aim | None
    classes: list[str] | None


async def body_of(request: Request, most: int) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPException: it has more than so many bytes (413).
        ClientDisconnect: the connection was cut.
    """
    stated = request.headers.get("content-length", "")
    size = int(stated) if stated.isdecimal() and len(stated) < 20 else 0
    body, read = bytearray(), 0
    if size <= _DISCARDED * most:
        async for part in request.stream():
            read += len(part)
            if max(size, read) <= most:
                body += part
            elif read > _DISCARDED * most:
                break
    if max(size, read) > most:
        raise HTTPException(413, f"a request has at most {most / (1 << 20):g} MiB")
    return bytes(body)


async def discard_body(request: Request, most: int) -> None:
    """Read a body of so many bytes and forget it; also one that is too large, as `body_of` does."""
    read = 0
    async for part in request.stream():
        read += len(part)
        if read > _DISCARDED * most:
            return


async def upload_of(request: Request, body: bytes) -> Upload:
    """Return the image of a request, and what is asked about it.

    A form (multipart/form-data) has the image as its one file, JSON as base64 under `image`; anything else is
    the image itself. `threshold` and `class` (several times) come with the address or in the form,
    `threshold` and `classes` (a list) in JSON.

    Raises:
        UserError: there is no image, or the form, the JSON or the threshold is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = request.query_params
    threshold: Any = query.get("threshold")
    classes: Any = query.getlist("class") or None
    if kind == "multipart/form-data":
        return await _of_form(request, body, threshold, classes)
    if kind == "application/json":
        return _of_json(body, threshold, classes)
    return _checked(body, None, threshold, classes)


async def _of_form(request: Request, body: bytes, threshold: Any, classes: Any) -> Upload:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, once(), max_files=1, max_fields=100).parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise UserError(f"not a form that can be read ({shown(str(error))})") from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            raise UserError("the form has no file; the image is to be one")
        named = [value for value in form.getlist("class") if isinstance(value, str)]
        image = await files[0].read()
        return _checked(image, files[0].filename, form.get("threshold", threshold), named or classes)
    finally:
        await form.close()


def _of_json(body: bytes, threshold: Any, classes: Any) -> Upload:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UserError(f"not JSON ({error})") from None
    if not isinstance(given, dict) or not isinstance(given.get("image"), str):
        raise UserError('the JSON is to be {"image": base64 of an image file}')
    unknown = given.keys() - {"image", "name", "threshold", "classes"}
    if unknown:
        raise UserError(f"{shown(min(unknown))}: no such key; there are image, name, threshold, classes")
    text: str = given["image"]
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        image = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError(
            f"image: base64 of an image file; got {shown(text, 40)} (no address and no path is opened)"
        ) from None
    name = given.get("name")
    asked = given.get("threshold", threshold), given.get("classes", classes)
    return _checked(image, name if isinstance(name, str) else None, *asked)


def _checked(image: bytes, name: str | None, threshold: Any, classes: Any) -> Upload:
    if not image:
        raise UserError("there is no image: the body is empty")
    if classes is not None and not (
        isinstance(classes, list)
        and len(classes) <= _MOST_CLASSES
        and all(isinstance(one, str) for one in classes)
    ):
        raise UserError(f"classes: a list of names; got {shown(classes)}")
    if isinstance(threshold, str):
        try:
            threshold = float(threshold)
        except ValueError:
            threshold = cast(Aim, threshold[:100])
    elif isinstance(threshold, bool) or not isinstance(threshold, int | float | None):
        raise UserError(f"threshold: a score from 0 to 1; got {shown(threshold)}")
    return Upload(image, name, threshold, classes)


def decode(image: bytes, most_pixels: int) -> Pixels:
    """Return the (H, W, 3) uint8 RGB pixels of an encoded image; see `decode_bytes`.

    Raises:
        UserError: it is of another format, too large, truncated or no image.
    """
    try:
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            width, height = opened.size
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UserError(f"not an image that can be read ({known}); it begins with {image[:4]!r}") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"the image is too large ({error})") from None
    except Exception as error:  # a damaged file makes a decoder fail in any way
        raise UserError(f"the image is truncated or damaged ({cut(str(error))})") from None
    if width * height > most_pixels:
        raise UserError(
            f"the image is too large ({width} x {height} pixels); at most {most_pixels:,} are decoded"
        )
    return decode_bytes(image)
