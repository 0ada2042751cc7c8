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

_BLOCK = 16  # filters that oneDNN computes side by side


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

    def part(self, which: slice) -> Responses:
        """Return the responses of some of the filters."""
        return Responses(self.size, self.values[which], self.outside[which])

    def first(self, padding: tuple[int, int]) -> tuple[int, int]:
        """Return row and column in the padded level of the first place where a filter touches the image."""
        return padding[0] + 2 - self.size[0], padding[1] + 2 - self.size[1]

    def maps(self, size: tuple[int, int], padding: tuple[int, int], border: int = 0) -> Array:
        """Return the (F, H, W) responses in the whole padded level.

        Args:
            size: H and W of the maps; -inf where a filter would reach beyond the padding.
            padding: rows and columns of cells around the image, but for one more.
            border: rows and columns of -inf around these.
        """
        first = self.first(padding)  # before the map, it is cut
        rows, columns = (max(n + 2 * start, 0) for n, start in zip(self.values.shape[1:], first, strict=True))
        bordered = np.full((len(self.values), *(n + 2 * border for n in size)), -np.inf, np.float32)
        whole = bordered[:, border : border + size[0], border : border + size[1]]
        whole[:, :rows, :columns] = self.outside[:, None, None]
        (top, left), (cut_y, cut_x) = ([max(sign * start, 0) for start in first] for sign in (1, -1))
        values = self.values[:, cut_y : self.values.shape[1] - cut_y, cut_x : self.values.shape[2] - cut_x]
        whole[:, top : top + values.shape[1], left : left + values.shape[2]] = values
        return bordered


def respond(filters: Sequence[Array], level: Level) -> list[Responses]:
    """Return the responses of each of several stacks of (F, rows, columns, C) float32 filters.

    Filters of one size are made together where they are many. Otherwise oneDNN would fill its blocks with
    zeros: then the rows of all filters are filters of their own, whose responses are added up.
    """
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, own in enumerate(filters):
        by_size.setdefault(own.shape[1:], []).append(place)
    stacks = [np.concatenate([filters[place] for place in places]) for places in by_size.values()]
    few = [stack for stack in stacks if len(stack) < _BLOCK]
    by_rows = iter(_respond_by_rows(few, level) if few else ())
    found: dict[int, Responses] = {}
    for stack, places in zip(stacks, by_size.values(), strict=True):
        size = stack.shape[1], stack.shape[2]
        values = next(by_rows) if len(stack) < _BLOCK else _convolved(stack, level, size)
        responses = Responses(size, values, stack[..., -1].sum((1, 2)))
        ends = np.cumsum([len(filters[place]) for place in places])
        for place, end in zip(places, ends, strict=True):
            found[place] = responses.part(slice(end - len(filters[place]), end))
    return [found[place] for place in range(len(filters))]


def _convolved(filters: Array, level: Level, around: tuple[int, int]) -> Array:
    """Return what (F, rows, columns, C) filters find in a level.

    Cells outside lie around it, as many as filters of `around` rows and columns touch it from.
    """
    rows, columns = around
    height, width, channels = level.features.shape
    image = np.zeros((1, height + 2 * (rows - 1), width + 2 * (columns - 1), channels), np.float32)
    image[..., -1] = 1
    image[0, rows - 1 : rows - 1 + height, columns - 1 : columns - 1 + width] = level.features
    # Channels come last in both, which oneDNN multiplies as they are.
    inputs, weights = (torch.from_numpy(given).permute(0, 3, 1, 2) for given in (image, filters))
    values: Array = F.conv2d(inputs, weights)[0].numpy()
    return values


def _respond_by_rows(stacks: Sequence[Array], level: Level) -> list[Array]:
    """Return the responses of stacks of filters, each of another size, wherever they touch the image."""
    most_rows, most_columns = (max(stack.shape[axis] for stack in stacks) for axis in (1, 2))
    by_row = []
    for stack in stacks:
        num, rows, columns, channels = stack.shape
        by_row.append(np.zeros((rows * num, 1, most_columns, channels), np.float32))
        by_row[-1][:, 0, :columns] = stack.swapaxes(0, 1).reshape(-1, columns, channels)
    values, found, begin = _convolved(np.concatenate(by_row), level, (most_rows, most_columns)), [], 0
    height = level.features.shape[0]
    for stack in stacks:
        num, rows, columns, _ = stack.shape
        own = values[begin : begin + rows * num].reshape(rows, num, *values.shape[1:])
        begin += rows * num
        own = own[:, :, most_rows - rows :, most_columns - columns :]
        total = own[0, :, : height + rows - 1].copy()
        for row in range(1, rows):
            total += own[row, :, row : row + height + rows - 1]
        found.append(total)
    return found
