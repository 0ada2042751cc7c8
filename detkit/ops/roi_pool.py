"""RoIPool (Girshick, Fast R-CNN, ICCV 2015)."""

from __future__ import annotations
import torch
from torch import Tensor
from torchvision.ops import roi_pool as tv


def roi_pool(features: Tensor, boxes: Tensor, image: Tensor, scale: float, size: int) -> Tensor:
    """Provisional."""
    rois = torch.cat([image[:, None].to(boxes), boxes], 1).float()
    return tv(features.float(), rois, size, scale)
