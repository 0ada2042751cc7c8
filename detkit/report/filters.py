"""Filters and activations as pictures: what a model's first layer looks for, and what a layer saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from detkit.capabilities import ShowsFilters
from detkit.report.content import Picture
from detkit.report.draw import SHEET, Image

COLOURS = 3
_TILE_PX, _GAP_PX = 56, 4  # least side of a picture of a grid


def filter_pictures(model: nn.Module, classes: Sequence[str]) -> list[Picture]:
    """Return pictures of a model's filters: of each class for linear ones, otherwise the first convolution's.

    Args:
        model: a detector or a classifier.
        classes: K class names.

    Returns:
        K pictures, one, or none of a model that has neither.
    """
    if isinstance(model, ShowsFilters):
        each = zip(classes, model.filter_pictures(), strict=True)
        return [Picture(picture, name) for name, picture in each]
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.shape[1] == COLOURS:
            kernels = layer.weight.detach().float().cpu().numpy()
            count, _, height, width = kernels.shape
            note = f"{count} filters of {width} x {height} pixels, all in one scale"
            return [Picture(kernel_picture(kernels), name, note=note)]
    return []


def kernel_picture(kernels: NDArray[np.floating[Any]]) -> Image:
    """Return a grid of kernels of colours, each pixel a square.

    Args:
        kernels: (K, 3, h, w) weights of red, green and blue; the least of all is 0, the greatest 255.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    low, span = kernels.min(), float(np.ptp(kernels)) or 1.0
    shades = np.asarray((255 * (kernels - low) / span).round(), np.uint8)
    return _grid(shades.transpose(0, 2, 3, 1))


def activation_picture(maps: NDArray[np.floating[Any]], count: int = 16) -> tuple[Image, list[int]]:
    """Return a grid of the channels with the greatest mean activation, and their numbers, strongest first.

    Args:
        maps: (C, h, w) activations; each channel is scaled by itself, and what is not above 0 is black.
        count: how many channels at most.

    Returns:
        (H, W, 3) uint8 RGB and the channels.
    """
    positive = np.maximum(maps, 0)
    strongest = np.argsort(-positive.mean(axis=(1, 2)), kind="stable")[:count]
    own = positive[strongest]
    top = own.max(axis=(1, 2), keepdims=True)
    shades = np.asarray((255 * own / np.where(top > 0, top, 1)).round(), np.uint8)
    return _grid(shades[..., None].repeat(COLOURS, axis=-1)), strongest.tolist()


def _grid(tiles: Image) -> Image:
    """Return (N, h, w, 3) tiles side by side in about as many rows as columns, enlarged without smoothing."""
    count, height, width, _ = tiles.shape
    zoom = max(1, math.ceil(_TILE_PX / max(height, width)))
    large = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    columns = math.ceil(math.sqrt(count))
    rows, step_y, step_x = -(-count // columns), zoom * height + _GAP_PX, zoom * width + _GAP_PX
    sheet = np.full((rows * step_y + _GAP_PX, columns * step_x + _GAP_PX, 3), SHEET, dtype=np.uint8)
    for number, tile in enumerate(large):
        y, x = _GAP_PX + number // columns * step_y, _GAP_PX + number % columns * step_x
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet
