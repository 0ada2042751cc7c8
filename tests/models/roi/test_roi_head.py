"""How many regions a head computes together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from detkit.models.roi.box_heads import BoxPredictor
from detkit.models.roi.roi_head import ROWS, RoIHead, in_few_sizes


class Counted(nn.Module):
    """A head that notes how many regions it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 4 * 4, 8)
        self.seen: list[int] = []

    def forward(self, regions: Tensor) -> Tensor:
        self.seen.append(len(regions))
        return self.layer(regions.flatten(1))


def given(maps: list[Tensor], boxes: list[Tensor], pixel_px: object = None) -> Tensor:
    return maps[0]


@pytest.mark.parametrize(("count", "rows"), [(1, ROWS), (ROWS, ROWS), (ROWS + 1, 2 * ROWS), (0, 0)])
def test_in_bfloat16_few_numbers_of_regions_are_computed_and_each_gives_the_same(
    count: int, rows: int
) -> None:
    torch.manual_seed(0)
    head = Counted()
    roi_head = RoIHead(given, head, BoxPredictor(8, 2), num_classes=2)  # type: ignore[arg-type]
    regions = torch.randn(count, 3, 4, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, deltas = roi_head([regions], [])
        alone, moved = roi_head.predictor(head(regions))
    assert head.seen == [rows, count]
    assert logits.shape == alone.shape == (count, 3)
    torch.testing.assert_close(logits, alone, rtol=0.02, atol=0.02)
    torch.testing.assert_close(deltas, moved, rtol=0.02, atol=0.02)
    logits.float().sum().backward()
    assert regions.grad is not None
    assert regions.grad.shape == regions.shape


def test_in_float32_regions_are_computed_as_they_are() -> None:
    regions = torch.randn(ROWS + 1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert in_few_sizes(regions) is regions
    with torch.autocast("cpu", dtype=torch.bfloat16):
        padded = in_few_sizes(regions)
    assert padded.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(padded[: len(regions)], regions)
    assert not padded[len(regions) :].any()
