"""Star models as pictures of what their filters look for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.dpm.stars import Component, Mixture, Star
from detkit.report.draw import Image, tile_images
from detkit.report.hog_pictures import ORIENTATIONS, hog_picture

Array = NDArray[Any]

CELL_PX = 12
"""Pixels of a part's cell in a picture, half of the root's."""


def mixture_picture(mixture: Mixture) -> Image:
    """Return a picture of a class: of each star model the root filter, and its parts at their anchors.

    Mirror images are left out.

    Returns:
        (H, W, 3) uint8 RGB; root and parts of a model are drawn to one scale.
    """
    images, captions = list[Image](), list[str]()
    for number, star in enumerate(cast(Iterable[Star], mixture.stars), start=1):
        for name, picture in zip(("root", "parts"), star_pictures(star.components()[0]), strict=False):
            images.append(picture)
            captions.append(f"{number}: {name}")
    return tile_images(images, 2 if len(images) > len(mixture.stars) else 1, captions=captions)


def star_pictures(component: Component) -> Iterator[Image]:
    """Yield (H, W, 3) uint8 RGB pictures of the root, and of the parts on it where there are any."""
    edges, of_parts = _edges(component.root), [_edges(part) for part in component.parts]
    most = max(weights.max() for weights in (edges, *of_parts)) or 1.0  # as bright as a stroke is
    root = hog_picture(edges, 2 * CELL_PX)
    parts = [hog_picture(weights, CELL_PX) for weights in of_parts]
    low, high = _extent(component)
    whole = np.zeros((*((high - low)[::-1] * CELL_PX), 3))
    x, y = -low * CELL_PX
    whole[y : y + len(root), x : x + root.shape[1]] = root[..., None]
    yield _shown(whole, most)
    whole /= 3  # the parts stand out
    corners = ((component.anchors - low) * CELL_PX).tolist()
    places = [
        whole[y : y + len(picture), x : x + picture.shape[1]]
        for picture, (x, y) in zip(parts, corners, strict=True)
    ]
    for place in places:
        place[:] = 0
    for place, picture in zip(places, parts, strict=True):
        np.maximum(place, picture[..., None], out=place)  # parts may overlap
        place[[0, -1]] = place[:, [0, -1]] = most / 2
    if parts:
        yield _shown(whole, most)


def _edges(weights: Array) -> Array:
    """Return the (rows, columns, 9) sums of the positive weights of each orientation, of both signs."""
    signed = np.maximum(weights[..., : 3 * ORIENTATIONS], 0)
    return np.asarray(signed.reshape(*weights.shape[:2], 3, ORIENTATIONS).sum(2))


def _extent(component: Component) -> tuple[Array, Array]:
    """Return the first x and y of root and parts, and those behind the last, in cells of parts."""
    rows, columns = component.root.shape[:2]
    corners = np.concatenate([[[0, 0]], component.anchors])
    sizes = [(2 * columns, 2 * rows), *(part.shape[1::-1] for part in component.parts)]
    return corners.min(0), (corners + sizes).max(0)


def _shown(picture: Array, most: float) -> Image:
    return np.asarray(np.clip(255 * picture / most, 0, 255).round(), np.uint8)
