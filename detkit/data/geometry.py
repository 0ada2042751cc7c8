"""Moves boxes and proposals together when the pixels below them move."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from detkit.structures import Target


def move(target: Target, matrix: Tensor, size: tuple[int, int]) -> Target:
    """Take a target along with pixels that were mapped by a matrix and cut to a size.

    Every flip, scaling, cut and turn is such a matrix, so there is one rule for all of them: a box
    becomes the box around its four mapped corners, clipped to the new image. An object whose centre
    leaves the image is dropped. A crowd region, which only says where not to look for background,
    stays while any of it is visible, and so does a proposal.

    Args:
        target: objects and proposals in the old pixels.
        matrix: (2, 3) float64; a point (x, y, 1) in old pixels is at matrix @ (x, y, 1) in new ones,
            both continuous (the top-left pixel covers [0, 1) x [0, 1)).
        size: (height, width) of the new image in pixels.

    Returns:
        The target in the new pixels; it may be empty.
    """
    moved = move_boxes(target.boxes, matrix)
    limits = torch.tensor((size[1], size[0]), dtype=moved.dtype)
    clipped = _clip(moved, limits)
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    inside = ((centre >= 0) & (centre < limits)).all(dim=1)
    kept = inside | (target.crowd & _has_area(clipped))
    proposals = target.proposals
    if proposals is not None:
        proposals = _clip(move_boxes(proposals, matrix), limits)
        proposals = proposals[_has_area(proposals)]
    return replace(
        target,
        boxes=clipped[kept],
        labels=target.labels[kept],
        difficult=target.difficult[kept],
        crowd=target.crowd[kept],
        proposals=proposals,
    )


def move_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """Return the boxes around the mapped corners of boxes.

    Args:
        boxes: (N, 4) corner boxes.
        matrix: (2, 3) float64, see `move`.

    Returns:
        (N, 4) corner boxes of the same dtype, not clipped.

    Example:
        >>> mirror = torch.tensor([[-1.0, 0.0, 10.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
        >>> move_boxes(torch.tensor([[1.0, 2.0, 4.0, 6.0]]), mirror)
        tensor([[6., 2., 9., 6.]])
    """
    ends = boxes.double().reshape(-1, 1, 2, 2)  # (N, 1, [low, high], [x, y])
    products = ends * matrix[:, None, :2]  # (N, [new x, new y], [low, high], [old x, old y])
    low = products.amin(dim=2).sum(dim=2) + matrix[:, 2]
    high = products.amax(dim=2).sum(dim=2) + matrix[:, 2]
    return torch.cat([low, high], dim=1).to(boxes.dtype)


def scaling(x: float, y: float) -> Tensor:
    """Return the (2, 3) matrix that multiplies the axes.

    Example:
        >>> scaling(2.0, 3.0)
        tensor([[2., 0., 0.],
                [0., 3., 0.]], dtype=torch.float64)
    """
    return torch.tensor([[x, 0.0, 0.0], [0.0, y, 0.0]], dtype=torch.float64)


def shift(x: float, y: float) -> Tensor:
    """Return the (2, 3) matrix that adds to both axes.

    Example:
        >>> shift(2.0, 3.0)
        tensor([[1., 0., 2.],
                [0., 1., 3.]], dtype=torch.float64)
    """
    return torch.tensor([[1.0, 0.0, x], [0.0, 1.0, y]], dtype=torch.float64)


def _clip(boxes: Tensor, limits: Tensor) -> Tensor:
    return boxes.reshape(-1, 2, 2).clamp_min(0).minimum(limits).reshape(-1, 4)


def _has_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
