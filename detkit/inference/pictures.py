"""Images as Python has them, one by one as pixels: files, folders, patterns, arrays, PIL images, tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from detkit.data.datasets.named_images import find_images, has_wildcards, require_still, warn_of_others
from detkit.data.images import Pixels, decode_image, pixels_of_pil
from detkit.errors import UserError
from detkit.storage.regular_files import is_folder

Picture = str | Path | NDArray[Any] | Image.Image | Tensor
"""An image file, or pixels: see `pixels_of`."""

_KNOWN = "a path, a NumPy array, a PIL image or a torch tensor"


def is_one(images: Picture | Iterable[Picture]) -> bool:
    """Return whether this stands for one image: neither a list, nor a folder, nor a pattern of names."""
    if isinstance(images, str | Path):
        return not (is_folder(Path(images)) or has_wildcards(images))
    return isinstance(images, np.ndarray | Image.Image | Tensor)


def pictures_of(images: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """Yield the images one by one, those of folders and patterns in their place, as they are asked for.

    Raises:
        UserError: it is nothing that stands for images, or a video, or on the network; no file matches.
    """
    if isinstance(images, str | Path | np.ndarray | Image.Image | Tensor):
        yield from _inside(images)
        return
    if isinstance(images, bytes | Mapping) or not isinstance(images, Iterable):
        raise UserError(f"images: expected {_KNOWN}, or several of them; got a {type(images).__name__}")
    for image in images:
        yield from _inside(image)


def _inside(image: Picture) -> Iterator[Picture]:
    if isinstance(image, str | Path):
        require_still(image)
        if is_one(image):
            yield image
        else:
            found = find_images(image)
            warn_of_others(found.left_out)
            yield from found.paths
    elif isinstance(image, np.ndarray | Image.Image | Tensor):
        yield image
    else:
        raise UserError(f"an image is {_KNOWN}; got a {type(image).__name__}")


def pixels_of(picture: Picture) -> Pixels:
    """Return (H, W, 3) uint8 RGB pixels.

    Args:
        picture: a file; an (H, W, 3) RGB or (H, W) grey uint8 array; a PIL image, whose EXIF orientation is
            left alone, so that boxes are in the pixels that it has; or a (3, H, W) RGB or (1, H, W) or (H, W)
            grey tensor, uint8 or floating point in [0, 1], on any device.

    Raises:
        UserError: a file cannot be read, or pixels have another shape, type or range.
    """
    match picture:
        case np.ndarray():
            return _of_array(picture)
        case Tensor():
            return _of_tensor(picture)
        case Image.Image():
            return pixels_of_pil(picture)
        case _:
            return decode_image(Path(picture))


def _of_array(array: NDArray[Any]) -> Pixels:
    if array.dtype == np.uint8 and array.size and array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        hint = {4: "; give the images of a batch as list(batch)"}.get(array.ndim, "")
        if array.ndim == 3 and array.shape[2] == 4:
            hint = "; leave out the transparency: image[..., :3]"
        elif array.ndim == 3 and array.shape[0] in (1, 3):
            hint = "; the channels come last: image.transpose(1, 2, 0)"
        elif array.dtype != np.uint8 and array.size and array.dtype.kind in "fiub":
            hint = f"; {_as_bytes(array)}"
        raise UserError(
            "an image must be (height, width, 3) uint8 RGB, or (height, width) uint8 grey; "
            f"found {array.shape} {array.dtype}{hint}"
        )
    return np.require(array, requirements=["C", "W"])  # as torch takes it: mirrored views are not


def _as_bytes(array: NDArray[Any]) -> str:
    """Return how pixels of another type become bytes."""
    low, high = float(array.min()), float(array.max())
    if 0 <= low <= high <= 1:
        return "values in [0, 1] become bytes by (image * 255).round().astype(numpy.uint8)"
    if 0 <= low <= high <= 255:
        return "values in [0, 255] become bytes by image.round().astype(numpy.uint8)"
    return f"its values go from {low:g} to {high:g}: bring them to 0 to 255, as numpy.uint8"


def _of_tensor(tensor: Tensor) -> Pixels:
    values = tensor.detach()
    values = values[None] if values.ndim == 2 else values
    floating = values.is_floating_point()
    if values.ndim != 3 or values.shape[0] not in (1, 3) or not (floating or values.dtype == torch.uint8):
        hint = {4: "; give the images of a batch as list(batch)"}.get(values.ndim, "")
        if values.ndim == 3 and values.shape[2] == 3:
            hint = "; the channels come first: image.permute(2, 0, 1)"
        raise UserError(
            "a tensor of an image must be (3, height, width) RGB, or (1, height, width) or (height, width) "
            f"grey, uint8 or float; found {tuple(tensor.shape)} {tensor.dtype}{hint}"
        )
    if not values.numel():
        raise UserError(f"an image has pixels; found a tensor of {tuple(tensor.shape)}")
    if floating:
        values = values.float()
        low, high = (float(end) for end in torch.aminmax(values))
        if not 0 <= low <= high <= 1:  # false of NaN, too
            raise UserError(
                f"a float tensor of an image must be in [0, 1], not normalised; found {low:g} to {high:g}"
                + ("; divide it by 255" if 1 < high <= 255 and low >= 0 else "")
            )
        values = (values * 255).round().to(torch.uint8)
    return _of_array(values.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())
