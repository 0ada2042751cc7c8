from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from detkit.data.regions.batch import cut_regions
from detkit.structures import ImageBatch


def test_a_loader_that_pins_finds_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []

    def pin(self: Tensor) -> Tensor:
        pinned.append(self.clone())
        return pinned[-1]

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    pixels = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8)
    boxes = torch.tensor([[1.0, 2.0, 11.0, 12.0]])
    batch = cut_regions(
        ImageBatch(pixels, ((20, 20),), ((20, 20),), (boxes,)), [torch.tensor([1])], size=16, context_px=2
    )
    there = pin_memory(batch)
    assert there.table is pinned[0]
    assert torch.equal(there.table, batch.table)
    assert there.numbers == batch.numbers


def test_what_went_wrong_is_shown_in_plain_values() -> None:
    pixels = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8)
    boxes = torch.tensor([[1.0, 2.0, 11.0, 12.0]])
    batch = cut_regions(
        ImageBatch(pixels, ((20, 20),), ((20, 20),), (boxes,)), [torch.tensor([1])], size=16, context_px=2
    )
    content = batch.content()
    assert content.keys() == {"table", "cuts", "labels"}
    assert content["cuts"].keys() == {"starts", "strides", "sources", "places", "flipped"}
    assert torch.equal(content["cuts"]["places"], batch.cuts.places)
    assert torch.equal(content["table"], batch.table)
    assert content["labels"].tolist() == [1]
