"""Local response normalisation, across channels and within each, whose gradient is the same on each run."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class LocalResponseNorm(nn.LocalResponseNorm):
    """`torch.nn.LocalResponseNorm` of maps (Krizhevsky et al., NIPS 2012), with the same numbers.

    PyTorch takes the mean over neighbouring channels by a pooling whose gradient a GPU cannot sum in order;
    off the CPU, where that pooling is fast, it is a sum of shifted channels.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) features across channels."""
        return super().forward(x) if x.device.type == "cpu" else self.by_shifts(x)

    def by_shifts(self, x: Tensor) -> Tensor:
        """Return what `forward` does, on any device."""
        padded = F.pad(x * x, (0, 0, 0, 0, self.size // 2, (self.size - 1) // 2))
        total = padded[:, : x.shape[1]]
        for first in range(1, self.size):
            total = total + padded[:, first : first + x.shape[1]]
        return x / (total / self.size * self.alpha + self.k).pow(self.beta)


class WithinChannelNorm(nn.Module):
    """Divide each feature by `(1 + alpha * mean) ** 0.75`, with the mean square of its channel around it.

    It is Caffe's LRN with `norm_region: WITHIN_CHANNEL` and `beta: 0.75`: the mean is over a square of
    `size * size` cells, of which those outside the map count as zeros.

    Args:
        size: cells along each side of the square, odd.
        alpha: weight of the mean square.
    """

    def __init__(self, size: int, alpha: float) -> None:
        super().__init__()
        self.size, self.alpha = size, alpha

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) features."""
        mean = F.avg_pool2d(x * x, self.size, stride=1, padding=self.size // 2)
        # Two roots take a CPU a quarter of a power's time, and as much less on the way back.
        root = (mean * self.alpha + 1).rsqrt()
        return x * root * root.sqrt()
