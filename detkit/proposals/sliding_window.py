"""Sliding windows: boxes of fixed shapes on regular grids."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.proposals import Proposals, ranked


@dataclass(frozen=True)
class WindowGrid:
    """Windows of one size at regular places.

    Attributes:
        size_px: width and height.
        lefts_px: (C,) left edges of the columns.
        tops_px: (R,) top edges of the rows.
    """

    size_px: tuple[float, float]
    lefts_px: NDArray[np.float64]
    tops_px: NDArray[np.float64]

    def boxes(self) -> NDArray[np.float64]:
        """Return the (R * C, 4) corner boxes so ordered that every beginning is spread out."""
        rows, columns = np.meshgrid(
            spread_order(len(self.tops_px)), spread_order(len(self.lefts_px)), indexing="ij"
        )
        # By the later of the two: the middle row's middle column first, then what halves the gaps.
        rank = np.maximum(np.argsort(rows[:, 0])[rows], np.argsort(columns[0])[columns])
        order = np.argsort(rank, axis=None, kind="stable")
        left, top = self.lefts_px[columns.flat][order], self.tops_px[rows.flat][order]
        return np.stack([left, top, left + self.size_px[0], top + self.size_px[1]], axis=1)


@dataclass(frozen=True)
class RelativeWindows:
    """Windows that grow with the image, evenly spread so that the first and the last touch its border.

    The attributes are those of `RelativeWindowsConfig`.
    """

    scales: tuple[float, ...]
    ratios: tuple[float, ...]
    stride: float

    def grids(self, height: int, width: int) -> list[WindowGrid]:
        """Return the windows, in any order."""
        found = []
        for scale in self.scales:
            for ratio in self.ratios:
                side = scale * math.sqrt(height * width)
                size = min(side / math.sqrt(ratio), float(width)), min(side * math.sqrt(ratio), float(height))
                lefts, tops = (self._places(room, of) for room, of in zip((width, height), size, strict=True))
                found.append(WindowGrid(size, lefts, tops))
        return found

    def _places(self, room: int, side: float) -> NDArray[np.float64]:
        count = 1 + math.ceil((room - side) / (self.stride * side) - 1e-9)
        return np.linspace(0.0, room - side, count) if count > 1 else np.array([(room - side) / 2])


@dataclass(frozen=True)
class PyramidWindows:
    """Windows of fixed size over smaller and smaller copies of the image, as a detector with templates looks.

    The copies are only imagined; their boxes are given in pixels of the image. Where a window does not
    fit the image there are no boxes of it. The first window of a copy starts in the corner. The attributes
    are those of `PyramidWindowsConfig`.
    """

    sizes_px: tuple[tuple[int, int], ...]
    stride_px: int
    scale_step: float

    def grids(self, height: int, width: int) -> list[WindowGrid]:
        """Return the windows, in any order."""
        found = []
        for across, down in self.sizes_px:
            factor = 1.0
            while across * factor <= width and down * factor <= height:
                size = across * factor, down * factor
                step = self.stride_px * factor
                found.append(WindowGrid(size, _steps(width - size[0], step), _steps(height - size[1], step)))
                factor *= self.scale_step
        return found


WindowLayout = RelativeWindows | PyramidWindows


@dataclass(frozen=True)
class SlidingWindow:
    """Proposes the windows of a layout, coarse to fine; of the image only its size matters.

    Large windows come first, and those of one size in an order that is spread over the image, so that the
    first `max_boxes` are a coarser covering of the whole image and not its upper part.

    Attributes:
        windows: where windows are laid.
        max_boxes: keep the first so many; None keeps all.
    """

    windows: WindowLayout
    max_boxes: int | None

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Return the windows of an (H, W, 3) image, equal boxes once.

        Example:
            >>> windows = SlidingWindow(RelativeWindows((1.0, 0.5), (1.0,), 1.0), max_boxes=None)
            >>> windows(np.zeros((4, 4, 3), np.uint8)).boxes.astype(int).tolist()
            [[0, 0, 4, 4], [0, 0, 2, 2], [2, 0, 4, 2], [0, 2, 2, 4], [2, 2, 4, 4]]
        """
        height, width = image.shape[:2]
        grids = self.windows.grids(height, width)
        if not grids:
            return Proposals.empty()
        # Boxes of one size have one place in the order, also where rounding makes their areas differ.
        boxes = [grid.boxes() for grid in sorted(grids, key=lambda grid: -math.prod(grid.size_px))]
        inside = np.clip(
            np.concatenate(boxes).astype(np.float32), 0, np.array([width, height] * 2, dtype=np.float32)
        )
        first = np.unique(inside, axis=0, return_index=True)[1]
        return ranked(inside[np.sort(first)]).best(self.max_boxes)


def _steps(room: float, step: float) -> NDArray[np.float64]:
    """Return the places from 0 to `room`; a place that misses it by a rounding error is one."""
    return np.arange(math.floor(room / step + 1e-9) + 1, dtype=np.float64) * np.float64(step)


def spread_order(count: int) -> NDArray[np.int64]:
    """Return 0 to count - 1 so that every beginning is spread evenly: the bits of a number reversed.

    Example:
        >>> spread_order(5)
        array([0, 4, 2, 1, 3])
    """
    bits = max(count - 1, 0).bit_length()
    numbers = np.arange(1 << bits)
    reverse = sum(((numbers >> bit) & 1) << (bits - 1 - bit) for bit in range(bits)) + np.zeros_like(numbers)
    order: NDArray[np.int64] = reverse[reverse < count]
    return order
