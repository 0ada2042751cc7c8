"""The cuts of an image that a classifier sees in a test."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Crops = Literal["center", "ten"]


def views(image: Tensor, side: int, crops: Crops, scales: tuple[float, ...]) -> Tensor:
    """Return the cuts of one image, at each scale one after another.

    Args:
        image: (C, H, W).
        side: height and width of a cut in pixels; what an image lacks at its end is 0.
        crops: `center`, or `ten` for the corners, the centre and the mirror images of these five.
        scales: factors of the image's size; it is resized bilinearly, averaged where it shrinks.

    Returns:
        (V, C, side, side); V is the number of scales times 1 or 10.

    Example:
        >>> views(torch.arange(16.0).view(1, 4, 4), 2, "center", (1.0,))
        tensor([[[[ 5.,  6.],
                  [ 9., 10.]]]])
        >>> views(torch.zeros(3, 30, 40), 16, "ten", (1.0, 0.75)).shape
        torch.Size([20, 3, 16, 16])
    """
    found = []
    for scale in scales:
        scaled = image if scale == 1 else _resized(image, scale)
        height, width = scaled.shape[1:]
        scaled = F.pad(scaled, (0, max(0, side - width), 0, max(0, side - height)))
        bottom, right = max(0, height - side), max(0, width - side)
        places = [(bottom // 2, right // 2)]
        if crops == "ten":
            places += [(0, 0), (0, right), (bottom, 0), (bottom, right)]
        cuts = torch.stack([scaled[:, top : top + side, left : left + side] for top, left in places])
        found.append(cuts if crops == "center" else torch.cat([cuts, cuts.flip(3)]))
    return torch.cat(found)


def _resized(image: Tensor, scale: float) -> Tensor:
    size = [max(1, round(length * scale)) for length in image.shape[1:]]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
