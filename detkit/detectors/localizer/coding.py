"""Coding of boxes and points by the image: what a localizer regresses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.ops.boxes import clip
from detkit.ops.padded import clip_each


def encode_boxes(boxes: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Return the codes of one box an image: its centre from the middle, and its sides, in sides of the image.

    Args:
        boxes: (B, 4) corner boxes in pixels.
        sizes: B (height, width) in pixels.

    Returns:
        (B, 4) float32 x, y, width, height; a box as large as the image has 0, 0, 1, 1.

    Example:
        >>> encode_boxes(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), [(20, 40)])
        tensor([[-0.3750, -0.2500,  0.2500,  0.5000]])

    Reference: centre, width and height are those of Simonyan and Zisserman, ICLR 2015; that the middle is
    zero and the sides are one is the normalisation of Toshev and Szegedy, DeepPose, CVPR 2014.
    """
    sides = _sides(sizes, boxes)
    corners = boxes.float().view(-1, 2, 2) / sides[:, None]
    return torch.cat([corners.mean(dim=1) - 0.5, corners[:, 1] - corners[:, 0]], dim=1)


def decode_boxes(codes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the boxes of codes within an image.

    Args:
        codes: (N, 4) as `encode_boxes` gives them; a negative side counts as none.
        size: (height, width) of the image in pixels.

    Returns:
        (N, 4) float32 corner boxes in pixels.

    Example:
        >>> decode_boxes(torch.tensor([[-0.375, -0.25, 0.25, 0.5]]), (20, 40))
        tensor([[ 0.,  0., 10., 10.]])
    """
    return clip(_corners(codes) * _sides([size], codes).repeat(1, 2), size)


def decode_boxes_each(codes: Tensor, sizes: Tensor) -> Tensor:
    """Return (B, N, 4) corner boxes of (B, N, 4) codes, of images of (B, 2) height and width in pixels.

    Example:
        >>> decode_boxes_each(torch.tensor([[[-0.375, -0.25, 0.25, 0.5]]]), torch.tensor([[20, 40]]))
        tensor([[[ 0.,  0., 10., 10.]]])
    """
    return clip_each(_corners(codes) * _sides(sizes, codes).repeat(1, 2)[:, None], sizes)


def _corners(codes: Tensor) -> Tensor:
    """Return (..., 4) corners in sides of the image."""
    centre, half = codes[..., :2] + 0.5, codes[..., 2:].clamp(min=0) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def encode_points(points: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Return (B, P, 2) float32 codes of B images' points in pixels: the way from the middle, in sides.

    Args:
        points: (B, P, 2) x and y.
        sizes: B (height, width) in pixels.

    Example:
        >>> encode_points(torch.tensor([[[0.0, 10.0]]]), [(20, 40)])
        tensor([[[-0.5000,  0.0000]]])

    Reference: Toshev and Szegedy, DeepPose, CVPR 2014; the image is the box that they normalise by.
    """
    return points.float() / _sides(sizes, points)[:, None] - 0.5


def decode_points(codes: Tensor, sizes: Sequence[tuple[int, int]] | Tensor) -> Tensor:
    """Return (B, P, 2) float32 points in pixels of (B, P, 2) codes; they may lie beyond the image.

    Args:
        codes: as `encode_points` gives them.
        sizes: B (height, width) in pixels.

    Example:
        >>> decode_points(torch.tensor([[[-0.5, 0.0]]]), [(20, 40)])
        tensor([[[ 0., 10.]]])
    """
    return (codes + 0.5) * _sides(sizes, codes)[:, None]


def _sides(sizes: Sequence[tuple[int, int]] | Tensor, like: Tensor) -> Tensor:
    """Return (B, 2) float32 width and height."""
    return torch.as_tensor(sizes, dtype=torch.float32, device=like.device).view(-1, 2).flip(1)
