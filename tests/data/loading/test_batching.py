from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detkit.data.datasets.index import Index
from detkit.data.loading.batching import PackedBatch, collate
from detkit.data.loading.samples import DetectionDataset, Key, Sample
from detkit.data.transforms.geometric import Flip
from tests.reference.small_set import FlatPixels, small_set

INDEX = Index.of(small_set())


def samples(*images: int, epoch: int = 0) -> list[Sample]:
    dataset = DetectionDataset(INDEX, FlatPixels(INDEX), [], 0)
    return [dataset[Key(epoch, image)] for image in images]


def test_images_are_padded_right_and_below_with_zero() -> None:
    batch = collate(samples(5, 1), seed=0)
    pixels = batch.images.pixels
    assert pixels.shape == (2, 3, 24, 32)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert batch.images.sizes == ((16, 32), (24, 16))
    assert batch.images.originals == ((16, 32), (24, 16))
    assert (pixels[0, :, :16] == 50).all()
    assert (pixels[0, :, 16:] == 0).all()
    assert (pixels[1, :, :, :16] == 10).all()
    assert (pixels[1, :, :, 16:] == 0).all()
    assert [target.image for target in batch.targets] == [5, 1]


def test_the_seed_comes_from_seed_and_epoch_alone() -> None:
    seed = collate(samples(0), seed=1).seed
    assert collate(samples(2, 3), seed=1).seed == seed
    assert collate(samples(0, epoch=1), seed=1).seed != seed
    assert collate(samples(0), seed=2).seed != seed


@pytest.mark.parametrize("proposals", [None, torch.zeros(0, 4), torch.tensor([[1.0, 2.0, 3.0, 4.0]])])
def test_a_parcel_opens_to_what_was_packed(proposals: torch.Tensor | None) -> None:
    packed = collate(
        [replace(s, target=replace(s.target, proposals=proposals)) for s in samples(0, 2)], seed=4
    )
    unpacked = PackedBatch.of(packed).unpack()
    assert unpacked.images.pixels is packed.images.pixels
    assert unpacked.images.sizes == packed.images.sizes
    for given in (packed.images.proposals, unpacked.images.proposals):
        assert (given is None) == (proposals is None)
        assert given is None or all(torch.equal(boxes, proposals) for boxes in given)
    assert unpacked.seed == packed.seed
    for before, after in zip(packed.targets, unpacked.targets, strict=True):
        for name in ("boxes", "labels", "difficult", "crowd"):
            assert torch.equal(getattr(before, name), getattr(after, name))
            assert getattr(before, name).dtype == getattr(after, name).dtype
        assert before.image == after.image
        assert (after.proposals is None) == (proposals is None)
        assert proposals is None or torch.equal(after.proposals, proposals)


def test_proposals_follow_their_image() -> None:
    boxes = np.array([[0.0, 0.0, 8.0, 6.0], [4.0, 2.0, 8.0, 16.0]], dtype=np.float32)
    flip = Flip(probability=1.0, direction="horizontal")
    dataset = DetectionDataset(INDEX, FlatPixels(INDEX), [flip], 0, lambda image: boxes[: image + 1])
    batch = collate([dataset[Key(0, image)] for image in (0, 1)], seed=0)
    assert batch.images.proposals is not None
    for (_, width), target, given in zip(
        batch.images.sizes, batch.targets, batch.images.proposals, strict=True
    ):
        assert given is target.proposals
        mirrored = torch.from_numpy(boxes[: target.image + 1])[:, [2, 1, 0, 3]] * torch.tensor(
            [-1.0, 1, -1, 1]
        )
        assert torch.equal(given, mirrored + torch.tensor([width, 0.0, width, 0.0]))


def test_only_the_pixels_of_a_packed_batch_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = []

    def pin(self: torch.Tensor) -> torch.Tensor:
        pinned.append(self.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    packed = PackedBatch.of(collate(samples(0, 2), seed=4))
    there = packed.pin_memory()
    assert len(pinned) == 1
    assert there.images.pixels is pinned[0]
    assert there.images.sizes == packed.images.sizes
    assert there.targets is packed.targets
    assert there.seed == packed.seed
