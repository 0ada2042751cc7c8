from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from detkit.explain.regularisers import (
    alpha_norm,
    as_pixels,
    blur,
    clip_small,
    jitter,
    total_variation,
    within_colours,
)
from detkit.explain.subject import normalised


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_variation(image: np.ndarray, beta: float) -> float:
    """The formula of Mahendran and Vedaldi, pixel by pixel."""
    total = 0.0
    images, channels, height, width = image.shape
    for b, c, i, j in np.ndindex(images, channels, height - 1, width - 1):
        down = image[b, c, i + 1, j] - image[b, c, i, j]
        across = image[b, c, i, j + 1] - image[b, c, i, j]
        total += (down**2 + across**2) ** (beta / 2)
    return total / image.size


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 3.0])
def test_total_variation_is_its_formula_and_has_its_slope(beta: float) -> None:
    image = noise(2, 3, 5, 4).requires_grad_()
    assert total_variation(image, beta).item() == pytest.approx(slow_variation(image.detach().numpy(), beta))
    assert gradcheck(lambda x: total_variation(x, beta), (image,))


def test_total_variation_of_an_even_image_pulls_nowhere() -> None:
    image = torch.full((1, 3, 4, 4), 0.3, requires_grad=True)
    (slope,) = torch.autograd.grad(total_variation(image, 1.0), image)
    assert torch.equal(slope, torch.zeros_like(slope))


@pytest.mark.parametrize("alpha", [2.0, 6.0])
def test_alpha_norm_is_its_formula_and_has_its_slope(alpha: float) -> None:
    image = noise(2, 3, 4, 4).requires_grad_()
    wanted = sum(abs(value) ** alpha for value in image.flatten().tolist()) / image.numel()
    assert alpha_norm(image, alpha).item() == pytest.approx(wanted)
    assert gradcheck(lambda x: alpha_norm(x, alpha), (image,))


@pytest.mark.parametrize("shift", [(0, 0), (2, 1), (-1, 3), (-4, -2), (9, -11)])
def test_jitter_moves_pixels_around(shift: tuple[int, int]) -> None:
    image = noise(2, 3, 5, 4)
    moved = jitter(image, shift)
    for i, j in np.ndindex(5, 4):
        assert torch.equal(moved[:, :, (i + shift[0]) % 5, (j + shift[1]) % 4], image[:, :, i, j])
    assert torch.equal(jitter(moved, (-shift[0], -shift[1])), image)


def test_blur_is_opencvs() -> None:
    image = noise(1, 3, 16, 12).float()
    plane = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    wanted = cv2.GaussianBlur(plane, (13, 13), 2.0, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(blur(image, 2.0)[0].permute(1, 2, 0).numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_least_pixels_of_each_image_become_grey(share: float) -> None:
    image, weight = noise(2, 3, 5, 4), noise(2, 1, 5, 4, seed=1).abs()
    clipped = clip_small(image, weight, share)
    for own, of, found in zip(image, weight, clipped, strict=True):
        order = sorted(np.ndindex(5, 4), key=lambda place: float(of[0][place]))
        for rank, place in enumerate(order):
            wanted = torch.zeros(3) if rank < int(share * 20) else own[:, place[0], place[1]]
            assert torch.equal(found[:, place[0], place[1]], wanted.to(own.dtype))


def test_pixels_go_there_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(as_pixels(normalised(pixels)), pixels)
    torch.testing.assert_close(within_colours(normalised(pixels)), normalised(pixels))
    far = torch.tensor([-9.0, 9.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert as_pixels(far).flatten(0, 2).tolist() == [[0, 255]] * 3
