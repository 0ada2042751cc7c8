"""A first convolution sees the same in our pixels as in those of the network that it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from detkit.detectors.toolkits.pixels import STYLES, Style, for_our_pixels, style_named
from detkit.errors import UserError


@pytest.mark.parametrize(
    ("style", "order", "mean", "std"),
    [
        ("caffe", [2, 1, 0], [103.53, 116.28, 123.675], [1.0, 1.0, 1.0]),
        ("caffe2", [2, 1, 0], [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]),
        ("pytorch", [0, 1, 2], [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    ],
)
def test_the_same_outputs(style: str, order: list[int], mean: list[float], std: list[float]) -> None:
    random = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (1, 3, 12, 10), generator=random).double()
    weight = torch.randn(4, 3, 7, 7, generator=random).double()
    theirs = (rgb[:, order] - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    ours = (rgb / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    moved = for_our_pixels(weight, STYLES[style], Path("a.pkl"))
    # The padding is 0 in both.
    wanted = F.conv2d(theirs, weight, padding=3)
    torch.testing.assert_close(F.conv2d(ours, moved, padding=3), wanted, rtol=1e-5, atol=1e-3)


def test_another_mean_is_refused() -> None:
    style = Style(rgb=False, std=(1, 1, 1), stride_in="1x1", mean=(102.9801, 115.9465, 122.7717))
    with pytest.raises(UserError, match=r"a\.pkl: its network takes the mean 122\.772, 115\.947, 102\.980 "):
        for_our_pixels(torch.zeros(1, 3, 7, 7), style, Path("a.pkl"))
    with pytest.raises(UserError, match="--arch 'r50': must be one of caffe, caffe2, pytorch"):
        style_named("r50")
