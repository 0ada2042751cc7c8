"""Every window of an image, cut out and classified alone, is what the dense network says of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detkit.detectors.builder import build_detector
from detkit.detectors.overfeat.config import OverFeatConfig
from detkit.detectors.overfeat.model import OverFeat
from detkit.structures import ImageBatch

K, STRIDE = 3, 16
CELLS = (21, 23)  # rows and columns of the image
REACH = 7  # cells beyond its own that the networks below see

ALEXNET: dict[str, Any] = {"type": "alexnet", "width": 0.125}
RESNET: dict[str, Any] = {"type": "resnet", "depth": 18, "width": 0.125}
VGG: dict[str, Any] = {"type": "vgg", "depth": 11, "width": 0.125}
POOLS: dict[str, Any] = {
    "paper": {"size": 3, "stride": 3, "cells": 3},
    "overlapping": {"size": 3, "stride": 2, "cells": 3},
    "small": {"size": 2, "stride": 2, "cells": 2},
}


class WithoutBorders(nn.Module):
    """A network of patches: no layer sees beyond a cell, so that none pads."""

    channels, strides = (6,), (STRIDE,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 5, 4, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 2, 2), nn.ReLU()
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return [self.layers(pixels)]


def build(pool: str, backbone: dict[str, Any], own: nn.Module | None = None) -> OverFeat:
    parts = {
        "type": "overfeat",
        "backbone": backbone,
        "proposals": {"type": "dense_windows", "scales": (1.0,)},
        "regions": {"type": "offset_pool", **POOLS[pool]},
        "head": {"type": "dense_softmax", "channels": 16, "box_channels": (16, 8)},
    }
    model = build_detector(OverFeatConfig.model_validate(parts), K, 0, backbone=own)
    assert isinstance(model, OverFeat)
    for layers in (model.classifier, model.regressor):
        nn.init.normal_(layers.output.weight)  # logits that differ
    return model.eval()


def image(cells: tuple[int, int] = CELLS) -> Tensor:
    shape = (3, cells[0] * STRIDE, cells[1] * STRIDE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def everywhere(model: OverFeat, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (H, W, K + 1) logits and (H, W, 4) edges of normalised (3, H, W) pixels."""
    size = (pixels.shape[1], pixels.shape[2])
    (pooled,) = model.pooled_maps(ImageBatch(pixels[None], (size,), (size,)))
    edges = model.regressor.everywhere(pooled, model.pool.dilation)
    return model.logits([pooled])[0][0], edges[0]


def alone(model: OverFeat, pixels: Tensor, y: int, x: int, reach: int) -> tuple[Tensor, Tensor]:
    """Return logits and edges of one window, of a crop with so many cells around it within the image."""
    span, top, left = model.pool.span, max(0, y - reach), max(0, x - reach)
    bottom, right = y + span + reach, x + span + reach
    crop = pixels[:, top * STRIDE : bottom * STRIDE, left * STRIDE : right * STRIDE].clone()
    logits, edges = everywhere(model, crop)
    return logits[y - top, x - left], edges[y - top, x - left]


@pytest.mark.parametrize("pool", POOLS)
@torch.no_grad()
def test_every_window_of_a_network_without_borders(pool: str) -> None:
    model, cells = build(pool, ALEXNET, WithoutBorders()), (12, 13)
    pixels = image(cells)
    logits, edges = everywhere(model, pixels)
    rows, columns = model.pool.places(cells)
    assert logits.shape == (rows, columns, K + 1)
    for y in range(rows):
        for x in range(columns):
            own, own_edges = alone(model, pixels, y, x, 0)
            torch.testing.assert_close(own, logits[y, x])
            torch.testing.assert_close(own_edges, edges[y, x])
    assert logits.std(dim=(0, 1)).min() > 0.01


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("backbone", [ALEXNET, VGG, RESNET], ids=["alexnet", "vgg", "resnet"])
@torch.no_grad()
def test_windows_of_a_padded_network_with_what_it_sees_around_them(
    pool: str, backbone: dict[str, Any]
) -> None:
    model, pixels = build(pool, backbone), image()
    logits, edges = everywhere(model, pixels)
    rows, columns = model.pool.places(CELLS)
    some = [(0, 0), (0, columns // 2), (rows - 1, columns - 1), (rows // 2, 0), (rows // 2, columns // 2)]
    for y, x in some:
        own, own_edges = alone(model, pixels, y, x, REACH)
        torch.testing.assert_close(own, logits[y, x], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(own_edges, edges[y, x], rtol=1e-4, atol=1e-4)
    # What lies around a window does count: without it the crop's own border is another.
    y, x = rows // 2, columns // 2
    assert (alone(model, pixels, y, x, 0)[0] - logits[y, x]).abs().max() > 1e-3
