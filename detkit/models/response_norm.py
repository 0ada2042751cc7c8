"""Local response normalisation (Krizhevsky et al., NIPS 2012), whose gradient is the same on each run."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class LocalResponseNorm(nn.LocalResponseNorm):
    """`torch.nn.LocalResponseNorm` of maps, with the same numbers.

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
