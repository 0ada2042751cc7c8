"""The box regression loss that proposal networks and heads share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth_l1(prediction: Tensor, target: Tensor, beta: float) -> Tensor:
    """Return smooth L1 of each element: a square within `beta` of zero, a line farther out.

    With d = |prediction - target| it is `d**2 / (2 * beta)` for d < beta and `d - beta / 2` otherwise.
    Arithmetic is float32 at least, whatever the inputs.

    Args:
        prediction: any shape.
        target: the same shape.
        beta: where the two pieces meet; 1 in Fast R-CNN, 1/9 in Faster R-CNN's proposal network (its
            sigma of 3), 0 for plain L1.

    Returns:
        Losses of the inputs' shape, not reduced.

    Example:
        >>> smooth_l1(torch.tensor([0.5, 3.0]), torch.zeros(2), 1.0)
        tensor([0.1250, 2.5000])

    Reference: Girshick, Fast R-CNN, ICCV 2015.
    """
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
    return F.smooth_l1_loss(prediction.to(dtype), target.to(dtype), reduction="none", beta=beta)
