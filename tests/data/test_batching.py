from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from detkit.data.batching import Parcel, collate
from detkit.data.index import Index
from detkit.data.samples import DetectionDataset, Key, Sample
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
    packed = collate(samples(0, 2), seed=4)
    packed = replace(packed, targets=tuple(replace(t, proposals=proposals) for t in packed.targets))
    opened = Parcel.of(packed).opened()
    assert opened.images is packed.images
    assert opened.seed == packed.seed
    for before, after in zip(packed.targets, opened.targets, strict=True):
        for name in ("boxes", "labels", "difficult", "crowd"):
            assert torch.equal(getattr(before, name), getattr(after, name))
            assert getattr(before, name).dtype == getattr(after, name).dtype
        assert before.image == after.image
        assert (after.proposals is None) == (proposals is None)
        assert proposals is None or torch.equal(after.proposals, proposals)
