"""A bent image shows at each pixel what Brown's model sends there, and boxes go along."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from detkit.data.transforms.builder import TRANSFORMS
from detkit.data.transforms.config import LensDistortionConfig
from detkit.data.transforms.lens import LensDistortion, bent_boxes
from detkit.structures import Target
from tests.data.transforms.test_geometric import smooth_photo


class Drawn(np.random.Generator):
    """Draws the largest factors either way."""

    def __init__(self, *signs: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.signs = signs

    def uniform(self, *_: Any, **__: Any) -> Any:
        return np.array(self.signs)


def goes_to(x: float, y: float, size: tuple[int, int], k1: float, k2: float) -> tuple[float, float]:
    """Brown's model for one point, whose radius is measured in half diagonals."""
    cx, cy = size[1] / 2, size[0] / 2
    r = math.hypot(x - cx, y - cy) / math.hypot(cx, cy)
    factor = 1 + k1 * r**2 + k2 * r**4
    return cx + (x - cx) * factor, cy + (y - cy) * factor


def seen_at(pixels: Any, column: int, row: int, k1: float, k2: float) -> Any:
    """Bisect for the point that goes to the middle of a pixel, then mix its four neighbours; None outside."""
    height, width = pixels.shape[:2]
    wanted = column + 0.5 - width / 2, row + 0.5 - height / 2
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        r = middle * math.hypot(*wanted) / math.hypot(width / 2, height / 2)
        if middle * (1 + k1 * r**2 + k2 * r**4) < 1:
            low = middle
        else:
            high = middle
    x, y = wanted[0] * low + width / 2 - 0.5, wanted[1] * low + height / 2 - 0.5
    left, top = math.floor(x), math.floor(y)
    if left < 0 or top < 0 or left + 1 >= width or top + 1 >= height:
        return None
    a, b = x - left, y - top
    corners = pixels[top : top + 2, left : left + 2].astype(float)
    return (1 - b) * ((1 - a) * corners[0, 0] + a * corners[0, 1]) + b * (
        (1 - a) * corners[1, 0] + a * corners[1, 1]
    )


@pytest.mark.parametrize(("k1", "k2"), [(-0.25, -0.04), (0.25, 0.04), (0.2, -0.05)])
def test_each_pixel_shows_what_goes_there(k1: float, k2: float) -> None:
    image, nothing = smooth_photo(40, 56), Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    pixels = image.permute(1, 2, 0).numpy()
    lens, drawn = LensDistortion(1.0, abs(k1), abs(k2)), Drawn(math.copysign(1, k1), math.copysign(1, k2))
    bent = lens.change(image, nothing, drawn)[0].permute(1, 2, 0).numpy()
    compared = 0
    for row in range(0, 40, 3):
        for column in range(0, 56, 3):
            wanted = seen_at(pixels, column, row, k1, k2)
            if wanted is not None:
                np.testing.assert_allclose(bent[row, column], wanted, atol=3)
                compared += 1
    assert compared > 100
    if k1 < 0:  # a barrel leaves its corners empty
        np.testing.assert_allclose(bent[0, 0], pixels.mean((0, 1)), atol=1)


@pytest.mark.parametrize(("k1", "k2"), [(-0.25, -0.04), (0.25, 0.04), (0.2, -0.05), (0.0, 0.0)])
def test_boxes_are_those_around_their_bent_sides(k1: float, k2: float) -> None:
    size, rng = (300, 400), np.random.default_rng(0)
    corners = rng.uniform(0, 1, (30, 2, 2)) * (400, 300)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32)
    for box, found in zip(boxes.tolist(), bent_boxes(boxes, size, k1, k2), strict=True):
        x1, y1, x2, y2 = box
        side = [i / 400 for i in range(401)]
        outline = [(x1 + s * (x2 - x1), y) for s in side for y in (y1, y2)]
        outline += [(x, y1 + s * (y2 - y1)) for s in side for x in (x1, x2)]
        xs, ys = zip(*(goes_to(x, y, size, k1, k2) for x, y in outline), strict=True)
        np.testing.assert_allclose(found, [min(xs), min(ys), max(xs), max(ys)], atol=0.1)


def test_objects_and_proposals_that_leave_follow_the_rule_of_the_house() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 8], [40, 40, 60, 60]])
    target = replace(
        Target.of(boxes, torch.tensor([0, 1])), proposals=torch.tensor([[0.0, 0, 3, 3], [2, 2, 50, 50]])
    )
    image = smooth_photo(96, 96)
    _, out = LensDistortion(1.0, 0.3, 0.0).change(image, target, Drawn(1.0, 0.0))
    assert out.labels.tolist() == [1]
    assert out.proposals is not None
    assert out.proposals.shape == (1, 4)
    assert out.proposals[0, :2].tolist() == [0, 0]
    _, kept = LensDistortion(1.0, 0.3, 0.0).change(image, target, Drawn(-1.0, 0.0))
    assert kept.labels.tolist() == [0, 1]
    assert (kept.boxes[0, :2] > 8).all()


def test_factors_are_drawn_from_both_sides_and_must_not_fold_the_image() -> None:
    config = LensDistortionConfig(probability=1.0)
    lens = TRANSFORMS[LensDistortionConfig](config, None)  # type: ignore[arg-type]
    assert lens == LensDistortion(1.0, 0.1, 0.02)
    target = Target.of(torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([0]))
    corners = [
        float(lens(smooth_photo(96, 96), target, np.random.default_rng(seed))[1].boxes[0, 2])
        for seed in range(8)
    ]
    assert min(corners) < 20 < max(corners)
    with pytest.raises(ValidationError, match=r"3 k1 \+ 5 k2 must be below 1, otherwise the image folds"):
        LensDistortionConfig(k1=0.3, k2=0.1)
    with pytest.raises(ValidationError, match="k1"):
        LensDistortionConfig(k1=-0.1)
