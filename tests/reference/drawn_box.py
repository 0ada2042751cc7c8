"""A box that can be found again: drawn into an image, searched for after the image was changed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from detkit.structures import Target

Box = tuple[int, int, int, int]


def drawn(size: tuple[int, int], box: Box) -> tuple[Tensor, Target]:
    """Return a black (3, H, W) image with one bright box x1 y1 x2 y2, and its target with a proposal."""
    image = torch.zeros((*size, 3), dtype=torch.uint8)
    image[box[1] : box[3], box[0] : box[2], 0] = 255
    boxes = torch.tensor([box], dtype=torch.float32)
    flags = torch.tensor([True]), torch.tensor([False])
    return image.permute(2, 0, 1), Target(boxes, torch.tensor([3]), *flags, boxes.clone(), 7)


def found(image: Tensor) -> tuple[int, int, int, int] | None:
    """Return the box around the bright pixels, or None where there are none."""
    rows, columns = np.nonzero(image[0].numpy() > 100)
    if not len(rows):
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
