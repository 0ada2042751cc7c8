"""Boxes as shifts and log scales of reference boxes: the regression targets of the R-CNN family."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_LOG_SCALE = math.log(1000 / 16)
"""A box grows at most from 16 to 1000 px, so that an untrained network cannot overflow the exponential."""


@dataclass(frozen=True)
class BoxCoder:
    """Encode boxes relative to reference boxes (anchors, proposals) and decode them again.

    With reference centre (x, y), width w and height h, and those of the box primed, the four deltas are
    `(x' - x) / w`, `(y' - y) / h`, `log(w' / w)` and `log(h' / h)`, each times its weight. Widths are
    continuous, `x2 - x1`; the papers' code takes `x2 - x1 + 1` of inclusive pixel boxes, which is the
    same width. Arithmetic is float32 at least, whatever the inputs.

    Attributes:
        weights: factors of dx, dy, dw, dh; one over the standard deviation expected of each.

    Example:
        >>> coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        >>> reference = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> coder.encode(torch.tensor([[1.0, 0.0, 11.0, 10.0]]), reference)
        tensor([[1., 0., 0., 0.]])
        >>> coder.decode(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), reference)
        tensor([[ 1.,  0., 11., 10.]])

    Reference: Girshick et al., Rich Feature Hierarchies (R-CNN), CVPR 2014, appendix on box regression.
    """

    weights: tuple[float, float, float, float]

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Return the deltas that move each reference onto its box.

        Args:
            boxes: (N, 4) corner boxes in pixels.
            references: (N, 4) corner boxes in pixels. A side of length 0 counts as a very short one, so
                that the result is finite.

        Returns:
            (N, 4) weighted deltas.

        Example:
            >>> BoxCoder((1.0, 1.0, 1.0, 1.0)).encode(torch.zeros(0, 4), torch.zeros(0, 4)).shape
            torch.Size([0, 4])
        """
        box_x, box_y, box_w, box_h = _centres_and_sides(boxes)
        x, y, w, h = _centres_and_sides(references)
        weight_x, weight_y, weight_w, weight_h = self.weights
        return torch.stack(
            (
                weight_x * (box_x - x) / w,
                weight_y * (box_y - y) / h,
                weight_w * torch.log(box_w / w),
                weight_h * torch.log(box_h / h),
            ),
            dim=-1,
        )

    def decode(self, deltas: Tensor, references: Tensor) -> Tensor:
        """Return the boxes that deltas make of their references.

        Args:
            deltas: (N, 4), or (N, K, 4) for K boxes from each reference; weighted deltas.
            references: (N, 4) corner boxes in pixels.

        Returns:
            Corner boxes in pixels of the deltas' shape, not clipped. A side grows at most 62.5 times.

        Example:
            >>> references = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
            >>> BoxCoder((1.0, 1.0, 1.0, 1.0)).decode(torch.zeros(1, 2, 4), references)
            tensor([[[0., 0., 4., 4.],
                     [0., 0., 4., 4.]]])
        """
        if deltas.dim() == 3:
            references = references[:, None]
        x, y, w, h = _centres_and_sides(references)
        weight_x, weight_y, weight_w, weight_h = self.weights
        dx, dy, dw, dh = _at_least_float32(deltas).unbind(-1)
        centre_x = x + dx / weight_x * w
        centre_y = y + dy / weight_y * h
        half_w = 0.5 * w * torch.exp((dw / weight_w).clamp(max=MAX_LOG_SCALE))
        half_h = 0.5 * h * torch.exp((dh / weight_h).clamp(max=MAX_LOG_SCALE))
        return torch.stack(
            (centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h), dim=-1
        )


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x1, y1, x2, y2 = _at_least_float32(boxes).unbind(-1)
    shortest = torch.finfo(x1.dtype).eps
    return (
        0.5 * (x1 + x2),
        0.5 * (y1 + y2),
        (x2 - x1).clamp(min=shortest),
        (y2 - y1).clamp(min=shortest),
    )


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
