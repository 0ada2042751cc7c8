"""Areas, overlaps and limits of corner boxes in continuous pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detkit.errors import UserError

_BLOCK = 1 << 20
"""Pairs handled at once: temporaries stay near 4 MB however many objects an image holds."""


def area(boxes: Tensor) -> Tensor:
    """Return the area of each box in square pixels.

    Args:
        boxes: (..., 4) corner boxes in pixels; a box whose corners are swapped has area 0.

    Returns:
        (...) areas.

    Example:
        >>> area(torch.tensor([[0.0, 0.0, 2.0, 3.0], [2.0, 0.0, 1.0, 3.0]]))
        tensor([6., 0.])
    """
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of every box with every other box.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        others: (M, 4) corner boxes in pixels.

    Returns:
        (N, M) values in [0, 1]; 0 where neither box has an area.

    Raises:
        UserError: an input does not have four columns.

    Example:
        >>> pairwise_iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
        tensor([[0.3333]])

    Reference: Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 2010.
    """
    _require_corners(boxes, "boxes")
    _require_corners(others, "others")
    return _by_rows(_iou, boxes, others)


def pairwise_ioa(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return the share of every box's own area that lies in every region.

    COCO measures overlap with a crowd region this way: a crowd has no single object's outline.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        regions: (M, 4) corner boxes in pixels.

    Returns:
        (N, M) values in [0, 1]; 0 for a box without area.

    Raises:
        UserError: an input does not have four columns.

    Example:
        >>> pairwise_ioa(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 9.0, 9.0]]))
        tensor([[0.5000]])
    """
    _require_corners(boxes, "boxes")
    _require_corners(regions, "regions")
    return _by_rows(_ioa, boxes, regions)


def to_inclusive(boxes: Tensor, pixel_px: float | Tensor = 1.0) -> Tensor:
    """Return continuous boxes as the papers' programs hold them: right and bottom are the last pixel's.

    Args:
        boxes: (R, 4) corner boxes, where a box of one pixel is one wide.
        pixel_px: side of the pixel that is meant, where an image was resized; (R, 1) of each box.

    Returns:
        (R, 4) left, top, and the place of the last pixel to the right and at the bottom.

    Example:
        >>> to_inclusive(torch.tensor([[0.0, 0.0, 4.0, 3.0]]))
        tensor([[0., 0., 3., 2.]])
    """
    return torch.cat((boxes[:, :2], boxes[:, 2:] - pixel_px), dim=1)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the boxes cut off at the borders of an image.

    Args:
        boxes: (..., 4) corner boxes in pixels.
        size: height and width of the image in pixels.

    Returns:
        (..., 4) boxes with 0 <= x <= width and 0 <= y <= height; one wholly outside has no area left.

    Example:
        >>> clip(torch.tensor([[-5.0, 2.0, 30.0, 40.0]]), (20, 25))
        tensor([[ 0.,  2., 25., 20.]])
    """
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(
        (x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)), dim=-1
    )


def is_large(boxes: Tensor, min_size_px: float) -> Tensor:
    """Tell which boxes have both sides of at least `min_size_px`.

    Args:
        boxes: (..., 4) corner boxes in pixels.
        min_size_px: shortest side that passes, in pixels.

    Returns:
        (...) bool.

    Example:
        >>> is_large(torch.tensor([[0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 99.0, 15.0]]), 16)
        tensor([ True, False])
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides >= min_size_px).all(dim=-1)


def has_area(boxes: Tensor) -> Tensor:
    """Tell which boxes have an area.

    Args:
        boxes: (..., 4) corner boxes in pixels.

    Returns:
        (...) bool.

    Example:
        >>> has_area(torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 2.0, 0.0]]))
        tensor([ True, False])
    """
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


def _intersection(boxes: Tensor, others: Tensor) -> Tensor:
    # One axis after the other: (N, M) temporaries are contiguous, (N, M, 2) ones are not.
    width = torch.minimum(boxes[:, 2, None], others[:, 2]) - torch.maximum(boxes[:, 0, None], others[:, 0])
    height = torch.minimum(boxes[:, 3, None], others[:, 3]) - torch.maximum(boxes[:, 1, None], others[:, 1])
    return width.clamp(min=0) * height.clamp(min=0)


def _iou(boxes: Tensor, others: Tensor) -> Tensor:
    shared = _intersection(boxes, others)
    union = area(boxes)[:, None] + area(others) - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


def _ioa(boxes: Tensor, regions: Tensor) -> Tensor:
    own = area(boxes)[:, None]
    return _intersection(boxes, regions) / own.clamp(min=torch.finfo(own.dtype).tiny)


def _by_rows(pairs: Callable[[Tensor, Tensor], Tensor], boxes: Tensor, others: Tensor) -> Tensor:
    """Fill the (N, M) matrix of `pairs` a block of rows at a time."""
    rows = max(1, _BLOCK // max(1, len(others)))
    if len(boxes) <= rows:
        return pairs(boxes, others)
    matrix = torch.empty((len(boxes), len(others)), dtype=boxes.dtype, device=boxes.device)
    for start in range(0, len(boxes), rows):
        matrix[start : start + rows] = pairs(boxes[start : start + rows], others)
    return matrix


def _require_corners(boxes: Tensor, name: str) -> None:
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise UserError(f"{name}: expected corner boxes of shape (N, 4), got {tuple(boxes.shape)}")
