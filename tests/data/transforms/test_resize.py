from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from detkit.data.transforms.builder import resizing
from detkit.data.transforms.config import ResizeConfig
from detkit.data.transforms.resize import Resize, ScaleCrop, whole_image
from detkit.structures import IMAGENET_STD, Target
from tests.reference.caffe_networks import resized as resized_by_caffe

LABEL = Target.of(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([3]), image=7)


class Fixed(np.random.Generator):
    """Draws what it is told."""

    def __init__(self, *draws: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.draws: Iterator[int] = iter(draws)

    def integers(self, *_: object, **__: object) -> int:  # type: ignore[override]
        return next(self.draws)


def ramp(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y * 2, x * 2, (x + y)]).to(torch.uint8)


def test_is_resizing_everything_and_cutting_afterwards() -> None:
    image = ramp(80, 120)
    square, _ = ScaleCrop((40, 60), 30)(image, LABEL, Fixed(40, 20, 40))
    everything, _ = Resize((40,), 1000)(image, LABEL, np.random.default_rng(0))
    assert square.shape == (3, 30, 30)
    inner = slice(2, 28)  # at the edges the cut has no neighbours to average with
    assert torch.equal(square[:, inner, inner], everything[:, 10:40, 20:50][:, inner, inner])


def test_keeps_the_label_wherever_it_cuts() -> None:
    for seed in range(20):
        square, target = ScaleCrop((32, 64), 24)(ramp(40, 100), LABEL, np.random.default_rng(seed))
        assert square.shape == (3, 24, 24)
        assert (target.labels.tolist(), target.boxes.tolist(), target.image) == ([3], [[0, 0, 24, 24]], 7)


def test_every_place_and_scale_comes() -> None:
    image = ramp(40, 100)
    means = [
        float(ScaleCrop((24, 48), 24)(image, LABEL, np.random.default_rng(s))[0][1].float().mean())
        for s in range(60)
    ]
    assert min(means) < 50
    assert max(means) > 150


def test_an_image_becomes_the_box_of_its_object() -> None:
    image, target = whole_image(ramp(40, 100), LABEL, np.random.default_rng(0))
    assert image.shape == (3, 40, 100)
    assert target.boxes.tolist() == [[0, 0, 100, 40]]


def test_lengths_are_told_in_words() -> None:
    assert str(Resize((600,))) == "short side 600 px"
    assert str(Resize((480, 600), 1000)) == "short side 480 or 600 px, the long one at most 1000"


def test_a_square_may_be_cut_at_every_edge_and_both_ends_of_the_range() -> None:
    seen = set()

    class Noted(np.random.Generator):
        def integers(self, low: int, high: int | None = None, **more: object) -> int:  # type: ignore[override]
            drawn = int(super().integers(low, high, **more))  # type: ignore[call-overload]
            seen.add((low, high, drawn))
            return drawn

    for seed in range(60):
        ScaleCrop((20, 22), 20)(ramp(40, 44), LABEL, Noted(np.random.PCG64(seed)))
    assert {drawn for low, _, drawn in seen if low == 20} == {20, 21, 22}
    # At 22 the square is 36 pixels of 40 x 44, at 21 38, at 20 all 40.
    assert {low for low, high, _ in seen if high is None} == {0, 2, 4, 6, 8}
    assert {drawn for low, high, drawn in seen if high is None and low == 4} == {0, 1, 2, 3, 4}


def test_both_sides_may_have_one_limit() -> None:
    assert ResizeConfig(short_px=600, long_px=600).long_px == 600
    with pytest.raises(ValueError, match=r"short_px \(601\) must not exceed long_px \(600\)"):
        ResizeConfig(short_px=601, long_px=600)


@pytest.mark.parametrize(
    ("size", "scale", "wanted"),
    [((30, 43), 2.0, (60, 86)), ((90, 121), 2 / 3, (60, 81)), ((30, 77), 100 / 77, (39, 100))],
)
def test_like_caffe_gives_what_fast_rcnns_program_sees(
    size: tuple[int, int], scale: float, wanted: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    rule = resizing(ResizeConfig(short_px=60, long_px=100, like="caffe"))
    target = Target.of(torch.tensor([[0.0, 0, size[1], size[0]]]), torch.tensor([3]))
    image, target = rule(torch.from_numpy(pixels).permute(2, 0, 1), target, np.random.default_rng(0))
    assert image.shape[1:] == wanted
    assert image.dtype == torch.float32
    assert target.boxes.tolist() == [[0, 0, wanted[1], wanted[0]]]
    # Blue, green and red less their mean; here red, green and blue over their deviation.
    seen = torch.from_numpy(resized_by_caffe(pixels, scale, wanted)[0]).flip(0)
    std = 255 * torch.tensor(IMAGENET_STD, dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(image.double() * std, seen, rtol=0, atol=1e-2)
