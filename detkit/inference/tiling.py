"""Tiling for small objects in large images: overlapping tiles in full size, and the whole image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.errors import UserError
from detkit.ops.nms import grouped_nms
from detkit.structures import Detections

OVERLAP = 0.25
"""Share of a tile that the next one repeats; objects up to that size are whole in one of them."""
_EDGE_PX = 2.0  # a box that ends this close to a cut is taken for a piece of an object


class View(NamedTuple):
    """A window of an image, in whole pixels; x2 and y2 are outside."""

    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True)
class Tiling:
    """How to cut.

    Attributes:
        size_px: side of a tile in pixels of the image.
        nms_iou: of two boxes of one class that overlap more than this, only the better stays.
        max_detections: at most so many for an image.

    Raises:
        UserError: the tile is smaller than 16 pixels.
    """

    size_px: int
    nms_iou: float
    max_detections: int

    def __post_init__(self) -> None:
        if self.size_px < 16:
            raise UserError(f"a tile must be at least 16 pixels wide; found {self.size_px}")


def views_of(size: tuple[int, int], tiling: Tiling) -> list[View]:
    """Return the whole image and its tiles, all of one size, row by row; an image that fits has none.

    Args:
        size: (height, width) in pixels.
        tiling: how to cut.

    Example:
        >>> tiling = Tiling(size_px=100, nms_iou=0.5, max_detections=100)
        >>> [tuple(view) for view in views_of((100, 150), tiling)]
        [(0, 0, 150, 100), (0, 0, 100, 100), (50, 0, 150, 100)]
    """
    height, width = size
    whole = View(0, 0, width, height)
    rows, columns = (_spans(side, tiling) for side in size)
    if len(rows) == len(columns) == 1:
        return [whole]
    return [whole, *(View(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns)]


def merge(
    parts: Sequence[Detections], views: Sequence[View], size: tuple[int, int], tiling: Tiling
) -> Detections:
    """Return the detections of an image from those of its views, class by class, best first.

    A box that touches a side where a tile was cut is a piece of an object; the neighbour or the whole
    image sees all of it, so the piece is dropped.

    Args:
        parts: what each view found, in its own pixels.
        views: where the views lie.
        size: (height, width) of the image in pixels.
        tiling: how it was cut.
    """
    moved = [_in_image(part, view, size) for part, view in zip(parts, views, strict=True)]
    found = Detections.joined(moved)
    return found.at(
        grouped_nms(found.boxes, found.scores, found.labels, tiling.nms_iou)[: tiling.max_detections]
    )


def _in_image(part: Detections, view: View, size: tuple[int, int]) -> Detections:
    boxes = part.boxes
    limits = boxes.new_tensor([0.0, 0.0, view.x2 - view.x1, view.y2 - view.y1])
    is_cut = torch.tensor([view.x1 > 0, view.y1 > 0, view.x2 < size[1], view.y2 < size[0]])
    whole: Tensor = ~(((boxes - limits).abs() < _EDGE_PX) & is_cut).any(1)
    shift = boxes.new_tensor([view.x1, view.y1, view.x1, view.y1])
    pieces = None if part.parts is None else part.parts + shift
    points = None if part.keypoints is None else part.keypoints + shift[:2]
    return replace(part, boxes=boxes + shift, parts=pieces, keypoints=points).at(whole)


def _spans(side: int, tiling: Tiling) -> list[tuple[int, int]]:
    """Return the fewest equal spans that cover a side with at least the overlap, evenly spread."""
    length = min(tiling.size_px, side)
    stride = max(1.0, length * (1 - OVERLAP))
    count = 1 + math.ceil((side - length) / stride)
    starts = [round(i * (side - length) / max(count - 1, 1)) for i in range(count)]
    return [(start, start + length) for start in starts]
