"""Responses of filters to levels of a pyramid, many filters at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from detkit.models.hog.feature_pyramid import Level

Array = NDArray[Any]


@dataclass(frozen=True)
class Responses:
    """Responses of filters of one size to a level.

    Only where a filter touches the image is there something to compute: beyond, its response is the sum of
    its weights for cells outside.

    Attributes:
        size: rows and columns of the filters.
        values: (F, H, W) float32 wherever they touch the image.
        outside: (F,) float32 responses elsewhere.
    """

    size: tuple[int, int]
    values: Array
    outside: Array

    @staticmethod
    def of(filters: Array, level: Level) -> Responses:
        """Return the responses of (F, rows, columns, 32) float32 filters."""
        rows, columns = filters.shape[1:3]
        height, width = level.features.shape[:2]
        shape = height + 2 * (rows - 1), width + 2 * (columns - 1)
        image = np.zeros((1, *shape, filters.shape[3]), np.float32)
        image[..., -1] = 1
        image[0, rows - 1 : rows - 1 + height, columns - 1 : columns - 1 + width] = level.features
        # Channels come last in both, which oneDNN multiplies as they are.
        inputs, weights = (torch.from_numpy(given).permute(0, 3, 1, 2) for given in (image, filters))
        values = F.conv2d(inputs, weights)
        return Responses((rows, columns), values[0].numpy(), filters[..., -1].sum((1, 2)))

    def part(self, which: slice) -> Responses:
        """Return the responses of some of the filters."""
        return Responses(self.size, self.values[which], self.outside[which])

    def maps(self, size: tuple[int, int], padding: tuple[int, int]) -> Array:
        """Return the (F, H, W) responses in the whole padded level.

        Args:
            size: H and W of the maps; -inf where a filter would reach beyond the padding.
            padding: rows and columns of cells around the image, but for one more.
        """
        # Where the first one is that touches the image; before the map, it is cut.
        first = [pad + 2 - side for pad, side in zip(padding, self.size, strict=True)]
        rows, columns = (max(n + 2 * start, 0) for n, start in zip(self.values.shape[1:], first, strict=True))
        whole = np.full((len(self.values), *size), -np.inf, np.float32)
        whole[:, :rows, :columns] = self.outside[:, None, None]
        (top, left), (cut_y, cut_x) = ([max(sign * start, 0) for start in first] for sign in (1, -1))
        values = self.values[:, cut_y : self.values.shape[1] - cut_y, cut_x : self.values.shape[2] - cut_x]
        whole[:, top : top + values.shape[1], left : left + values.shape[2]] = values
        return whole


def respond(filters: Sequence[Array], level: Level) -> list[Responses]:
    """Return the responses of each of several stacks of filters; those of one size are made together."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, own in enumerate(filters):
        by_size.setdefault(own.shape[1:], []).append(place)
    found: dict[int, Responses] = {}
    for places in by_size.values():
        responses = Responses.of(np.concatenate([filters[place] for place in places]), level)
        ends = np.cumsum([len(filters[place]) for place in places])
        for place, end in zip(places, ends, strict=True):
            found[place] = responses.part(slice(end - len(filters[place]), end))
    return [found[place] for place in range(len(filters))]
