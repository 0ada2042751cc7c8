from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from detkit.data.transforms.colour import ColorJitter, Noise, colour_matrix
from detkit.data.transforms.geometric import Transform, as_image, as_pixels
from detkit.structures import Target

TARGET = Target.of(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([0]))


def photo() -> Tensor:
    coarse = np.random.default_rng(0).integers(60, 180, (8, 10, 3), dtype=np.uint8)
    return as_image(cv2.resize(coarse, (80, 64), interpolation=cv2.INTER_LINEAR))


def changed(image: Tensor, **parts: float) -> Tensor:
    values = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0} | parts
    mean = image.double().mean(dim=(1, 2)).numpy()
    return as_image(cv2.transform(as_pixels(image), colour_matrix(**values, mean=mean)))


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.3])
@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation"])
def test_each_part_is_what_torchvision_makes(part: str, factor: float) -> None:
    peer = getattr(functional, f"adjust_{part}")(photo(), factor)
    assert (changed(photo(), **{part: factor}).int() - peer.int()).abs().max() <= 1


@pytest.mark.parametrize("thirds", [-1, 0, 1])
def test_hue_at_thirds_of_the_circle_is_that_of_hsv(thirds: int) -> None:
    peer = functional.adjust_hue(photo(), thirds / 3)
    assert (changed(photo(), hue=thirds / 3).int() - peer.int()).abs().max() <= 2


def test_hue_turns_the_angle_and_keeps_mean_and_chroma() -> None:
    def polar(colour: np.ndarray) -> tuple[float, float, float]:  # type: ignore[type-arg]
        red, green, blue = colour
        x, y = red - (green + blue) / 2, (green - blue) * 3**0.5 / 2
        return np.arctan2(y, x) / (2 * np.pi), np.hypot(x, y), red + green + blue

    before = np.array([180.0, 90.0, 60.0])
    matrix = colour_matrix(1.0, 1.0, 1.0, 0.05, np.zeros(3))
    angle, chroma, total = polar(matrix[:, :3] @ before)
    assert angle == pytest.approx(polar(before)[0] + 0.05)
    assert (chroma, total) == pytest.approx(polar(before)[1:])


def test_hue_leaves_grey_alone() -> None:
    grey = torch.arange(0, 256, 4, dtype=torch.uint8).repeat(3, 1, 1).contiguous()
    assert torch.equal(changed(grey, hue=0.1), grey)


def test_the_parts_follow_one_another() -> None:
    image = photo()
    peer = functional.adjust_brightness(image, 0.6)
    peer = functional.adjust_contrast(peer, 0.5)
    peer = functional.adjust_saturation(peer, 1.2)
    ours = changed(image, brightness=0.6, contrast=0.5, saturation=1.2)
    assert (ours.int() - peer.int()).abs().max() <= 3  # the peer cuts off fractions twice in between


def test_noise_has_the_strength_told() -> None:
    class Strongest(np.random.Generator):
        def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
            return high

    image = torch.full((100, 100, 3), 128, dtype=torch.uint8).permute(2, 0, 1)
    noisy, _ = Noise(1.0, 8.0)(image, TARGET, Strongest(np.random.PCG64(0)))
    difference = noisy.double() - 128
    assert difference.mean().abs() < 0.2
    assert difference.std() == pytest.approx(8.0, abs=0.2)
    white = torch.full((50, 50, 3), 255, dtype=torch.uint8).permute(2, 0, 1)
    assert Noise(1.0, 8.0)(white, TARGET, np.random.default_rng(0))[0].min() > 150  # no wrap-around


@pytest.mark.parametrize("make", [lambda p: ColorJitter(p, 0.4, 0.4, 0.4, 0.1), lambda p: Noise(p, 20.0)])
def test_chance_comes_from_the_generator_and_the_target_stays(make: object) -> None:
    transform: Transform = make(1.0)  # type: ignore[operator]
    image = photo()
    before = image.clone()
    first, target = transform(image, TARGET, np.random.default_rng(3))
    second, _ = transform(image, TARGET, np.random.default_rng(3))
    other, _ = transform(image, TARGET, np.random.default_rng(4))
    assert target is TARGET
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(image, before)
    assert make(0.0)(image, TARGET, np.random.default_rng(3))[0] is image  # type: ignore[operator]


@pytest.mark.parametrize(("part", "width"), [("brightness", 0.3), ("contrast", 0.3), ("saturation", 0.3)])
def test_jitter_uses_all_of_its_range_and_no_more(part: str, width: float) -> None:
    strengths = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0} | {part: width}
    image = photo()
    results = [
        ColorJitter(1.0, **strengths)(image, TARGET, np.random.default_rng(seed))[0].double()
        for seed in range(100)
    ]
    spread = [(each * (image.double() - image.double().mean())).mean() for each in results]
    low, high = (changed(image, **{part: 1 + sign * width}).double() for sign in (-1, 1))
    limits = [(each * (image.double() - image.double().mean())).mean() for each in (low, high)]
    margin = (limits[1] - limits[0]) * 0.05
    assert limits[0] - margin / 5 <= min(spread) <= limits[0] + margin
    assert limits[1] - margin <= max(spread) <= limits[1] + margin / 5


def test_a_factor_is_never_negative() -> None:
    for seed in range(50):
        image, _ = ColorJitter(1.0, 0.0, 3.0, 0.0, 0.0)(photo(), TARGET, np.random.default_rng(seed))
        brightest = photo().sum(dim=0).flatten().argmax()
        assert image.sum(dim=0).flatten()[brightest] >= image.double().sum(dim=0).mean() - 3


def test_jitter_of_nothing_changes_nothing() -> None:
    image, _ = ColorJitter(1.0, 0.0, 0.0, 0.0, 0.0)(photo(), TARGET, np.random.default_rng(0))
    assert torch.equal(image, photo())
