"""Moves boxes and proposals together when the pixels below them move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
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
    # In NumPy: on the few boxes of an image it is the calls that cost, and torch's cost more.
    limits = np.array((size[1], size[0], size[1], size[0]), dtype=np.float32)
    moved = move_boxes(target.boxes.numpy(), matrix.numpy())
    clipped = moved.clip(0, limits)
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    inside = ((centre >= 0) & (centre < limits[:2])).all(axis=1)
    kept = inside | (target.crowd.numpy() & _has_area(clipped))
    proposals = target.proposals
    if proposals is not None:
        inner = move_boxes(proposals.numpy(), matrix.numpy()).clip(0, limits)
        proposals = torch.from_numpy(inner[_has_area(inner)])
    return replace(
        target,
        boxes=torch.from_numpy(clipped[kept]),
        labels=torch.from_numpy(target.labels.numpy()[kept]),
        difficult=torch.from_numpy(target.difficult.numpy()[kept]),
        crowd=torch.from_numpy(target.crowd.numpy()[kept]),
        proposals=proposals,
    )


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


def move_boxes(boxes: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the (N, 4) boxes around the mapped corners of (N, 4) boxes, of the same dtype, not clipped.

    Example:
        >>> mirror = np.array([[-1.0, 0.0, 10.0], [0.0, 1.0, 0.0]])
        >>> move_boxes(np.array([[1.0, 2.0, 4.0, 6.0]]), mirror)
        array([[6., 2., 9., 6.]])
    """
    ends = boxes.astype(np.float64).reshape(-1, 1, 2, 2)  # (N, 1, [low, high], [x, y])
    products = ends * matrix[:, None, :2]  # (N, [new x, new y], [low, high], [old x, old y])
    low = products.min(axis=2).sum(axis=2) + matrix[:, 2]
    high = products.max(axis=2).sum(axis=2) + matrix[:, 2]
    return np.concatenate([low, high], axis=1).astype(boxes.dtype)


def _has_area(boxes: NDArray[Any]) -> NDArray[np.bool_]:
    return cast(NDArray[np.bool_], (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
