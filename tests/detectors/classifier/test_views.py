"""The cuts of a test, against torchvision's."""

from __future__ import annotations

import torch
from torchvision.transforms.v2 import functional

from detkit.detectors.classifier.views import views


def test_centre_and_ten_are_torchvisions() -> None:
    image = torch.rand(3, 35, 45)
    assert torch.equal(views(image, 21, "center", (1.0,))[0], functional.center_crop(image, [21, 21]))
    corners = functional.ten_crop(image, [21, 21])  # four corners, centre; then their mirror images
    ten = views(image, 21, "ten", (1.0,))
    order = [1, 2, 3, 4, 0, 6, 7, 8, 9, 5]
    mirrored = {tuple(cut.flatten().tolist()) for cut in corners}
    assert {tuple(cut.flatten().tolist()) for cut in ten} == mirrored
    assert all(torch.equal(ten[ours], peer) for ours, peer in zip(order[:5], corners[:5], strict=True))


def test_each_scale_gives_its_own_cuts() -> None:
    image = torch.rand(3, 40, 60)
    both = views(image, 16, "center", (1.0, 0.5))
    half = torch.nn.functional.interpolate(image[None], (20, 30), mode="bilinear", antialias=True)[0]
    assert torch.equal(both[1], functional.center_crop(half, [16, 16]))


def test_a_small_image_is_padded_at_its_end() -> None:
    cut = views(torch.ones(3, 5, 9), 8, "ten", (1.0,))
    assert cut.shape == (10, 3, 8, 8)
    assert torch.equal(cut[0, :, :5], torch.ones(3, 5, 8))
    assert not cut[0, :, 5:].any()
