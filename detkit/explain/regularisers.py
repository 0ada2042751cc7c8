"""What keeps an image that is made for a network like one of a camera: norms, jitter, blur, clipping."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from detkit.structures import IMAGENET_MEAN, IMAGENET_STD

_BLACK = tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
_WHITE = tuple((1 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))


def alpha_norm(image: Tensor, alpha: float) -> Tensor:
    """Return the mean of |x| to the power of alpha, a scalar: with 2 the L2 decay of an image.

    A high power leaves ordinary values alone and forbids those far from the mean.

    Args:
        image: (B, C, H, W) normalised pixels.
        alpha: at least 1.

    Example:
        >>> alpha_norm(torch.tensor([[[[1.0, -2.0]]]]), 6)
        tensor(32.5000)

    Reference: Mahendran and Vedaldi, Understanding deep image representations by inverting them, CVPR 2015.
    """
    return image.abs().pow(alpha).mean()


def total_variation(image: Tensor, beta: float) -> Tensor:
    """Return the sum of ((right - x)^2 + (below - x)^2)^(beta / 2) over the number of values, a scalar.

    The last row and column, which have no neighbour, are compared with nothing.

    Args:
        image: (B, C, H, W) normalised pixels.
        beta: 1 is the total variation itself; from 2 on no edge is sharper than it has to be.

    Example:
        >>> total_variation(torch.tensor([[[[0.0, 3.0], [4.0, 0.0]]]]), 1)
        tensor(1.2500)

    Reference: Mahendran and Vedaldi, CVPR 2015.
    """
    here = image[..., :-1, :-1]
    squared = (image[..., :-1, 1:] - here).square() + (image[..., 1:, :-1] - here).square()
    # Below a beta of 2 the slope of an even place would be 0 times infinity.
    return squared.clamp(min=1e-12).pow(beta / 2).sum() / image.numel()


def jitter(image: Tensor, shift: Sequence[int]) -> Tensor:
    """Return images moved down and to the right; what leaves on one side comes in on the other.

    Args:
        image: (B, C, H, W).
        shift: pixels down and across, of any sign.

    Example:
        >>> jitter(torch.tensor([[[[1, 2, 3]]]]), (0, 1))
        tensor([[[[3, 1, 2]]]])

    Reference: Mordvintsev, Olah and Tyka, DeepDream, 2015.
    """
    return image.roll((shift[0], shift[1]), dims=(2, 3))


def blur(image: Tensor, sigma_px: float) -> Tensor:
    """Return images after a Gaussian blur: high frequencies, which networks overrate, fade.

    Args:
        image: (B, C, H, W) float.
        sigma_px: deviation in pixels, above 0.

    Reference: Yosinski et al., Understanding neural networks through deep visualization, ICML 2015 workshop.
    """
    reach = max(1, round(3 * sigma_px))
    blurred: Tensor = gaussian_blur(image, [2 * reach + 1] * 2, [sigma_px] * 2)
    return blurred


def clip_small(image: Tensor, weight: Tensor, share: float) -> Tensor:
    """Return images whose least pixels are 0, the mean colour, so that the main object alone is left.

    Args:
        image: (B, C, H, W) normalised pixels.
        weight: (B, 1, H, W) what pixels are compared by, not below 0: their norm, or their contribution
            |sum of pixel times gradient over the colours|.
        share: of the pixels, from 0 to 1.

    Example:
        >>> x = torch.tensor([[[[3.0, 1.0, -2.0]]]])
        >>> clip_small(x, x.abs(), 0.5)
        tensor([[[[ 3.,  0., -2.]]]])

    Reference: Yosinski et al., ICML 2015 workshop.
    """
    count = int(share * weight[0].numel())
    if count == 0:
        return image
    least = weight.flatten(1).kthvalue(count, dim=1).values
    return torch.where(weight > least.view(-1, 1, 1, 1), image, 0.0)


def within_colours(image: Tensor) -> Tensor:
    """Return (B, 3, H, W) normalised pixels that no file could hold as black or white."""
    low, high = (image.new_tensor(limit).view(3, 1, 1) for limit in (_BLACK, _WHITE))
    return image.clamp(low, high)


def as_pixels(image: Tensor) -> Tensor:
    """Return (B, 3, H, W) uint8 RGB of normalised images; colours that no file could hold are cut off."""
    mean, std = (image.new_tensor(of).view(3, 1, 1) for of in (IMAGENET_MEAN, IMAGENET_STD))
    return (255 * (within_colours(image) * std + mean)).round().clamp(0, 255).to(torch.uint8)
