"""A small network with several layers, of which some are joined, in place, or never run."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 40


class Backbone(nn.Module):
    """Three stages; the ReLU behind the second changes its output in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.LeakyReLU(0.2))
        self.stage2 = nn.Conv2d(24, 32, 3, 2, padding=1)
        self.stage3 = nn.Conv2d(32, 32, 3, padding=1)
        self.joined = nn.Conv2d(32, 32, 1)
        self.runs: list[str] = []

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x = self.stage2(self.stage1(pixels))
        self.runs.append("beyond stage2")
        x = F.relu(x, inplace=True)
        return [self.joined._conv_forward(self.stage3(x), self.joined.weight, None)]


class Layered(nn.Module):
    """A model that computes maps, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Backbone()

    def map_modules(self) -> list[nn.Module]:
        return [self.backbone]


def layered() -> Layered:
    return Layered().eval().requires_grad_(False)


def photograph() -> Tensor:
    """Return a (1, 3, SIDE, SIDE) normalised image of soft spots."""
    noise = torch.randn((1, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    return F.interpolate(noise, (SIDE, SIDE), mode="bicubic").clamp(-1.5, 1.5)
