"""Regions drawn from all images, and the batches made of them."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch

from detkit.data.datasets.index import Index
from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.loader import PixelCache, RegionDataset, RegionKey, RegionLoader, RegionSampler
from detkit.data.regions.training_regions import TrainingRegions
from detkit.data.synthetic.dataset import SyntheticSet
from detkit.errors import UserError
from detkit.ops.warp import warp
from tests.reference.warp import crop

DRAWN = SyntheticSet(5, 0)
PROPOSALS = np.array([[10, 20, 60, 70], [0, 0, 33, 30], [100.5, 40, 180, 99.5]], dtype=np.float32)
LABELS = np.array([0, -1, -2, 1, -1, -1, 2], dtype=np.int16)
OFFSETS = np.array([0, 3, 3, 7])


def regions() -> TrainingRegions:
    return TrainingRegions(Index.of(DRAWN.annotations()), lambda image: PROPOSALS)


def draw(num: int = 8, flip: float = 0.5, labels: np.ndarray = LABELS) -> RegionSampler:
    return RegionSampler.of(labels, OFFSETS, num=num, fg_fraction=0.25, flip=flip, seed=3)


def test_regions_are_the_objects_and_then_the_proposals() -> None:
    every = regions()
    for image in range(len(every)):
        objects = every.objects(image).boxes.numpy()
        np.testing.assert_array_equal(every(image), np.concatenate([objects, PROPOSALS]))
    assert every.counts().tolist() == [len(every.objects(i)) + 3 for i in range(5)]


def test_a_step_is_a_quarter_objects_behind_background_and_depends_on_its_number_alone() -> None:
    steps = [draw().step(number) for number in range(200)]
    assert draw().step(7) == steps[7]
    assert steps[7] != steps[8]
    for step in steps:
        assert [key.label for key in step[:6]] == [-1] * 6
        assert all(key.label >= 0 for key in step[6:])
    seen = [key for step in steps for key in step]
    # With replacement, every region alike: the rows of image 1 do not exist, those left out never come.
    places = {(key.image, key.row): key.label for key in seen}
    assert places == {(0, 0): 0, (2, 0): 1, (2, 3): 2, (0, 1): -1, (2, 1): -1, (2, 2): -1}
    counts = np.unique([(k.image, k.row) for k in seen if k.label == -1], axis=0, return_counts=True)[1]
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.05)
    assert 0.4 < np.mean([key.flip for key in seen]) < 0.6


@pytest.mark.parametrize("labels", [LABELS.clip(max=-1), LABELS.clip(min=0)])
def test_both_kinds_are_needed(labels: np.ndarray) -> None:
    with pytest.raises(UserError, match="both are needed"):
        draw(labels=labels)


def test_batches_hold_the_crops_of_the_regions_of_a_step() -> None:
    every = regions()
    images = DetectionDataset(every.index, DRAWN.render, (), 0, every)
    dataset = RegionDataset(images, 32, 3, square=False)
    loader = RegionLoader(dataset, draw(num=6), num_steps=3, num_classes=5, workers=0)
    batches = list(loader(0, 0))
    assert [batch.labels.tolist() for batch in loader(0, 1)] == [b.labels.tolist() for b in batches[1:]]
    mean = (120.0, 110.0, 100.0)
    for number, batch in enumerate(batches):
        keys = draw(num=6).step(number)
        assert batch.numbers == tuple(key.image for key in keys)
        assert batch.labels.tolist() == [5 if key.label < 0 else key.label for key in keys]
        crops = warp(batch.table, batch.cuts, 32, torch.tensor(mean), torch.ones(3))
        for found, key in zip(crops, keys, strict=True):
            x1, y1, x2, y2 = every(key.image)[key.row].tolist()
            pixels = DRAWN.render(key.image)
            expected = crop(pixels, (x1 + 1, y1 + 1, x2, y2), 32, 3, False, key.flip, mean)
            np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=2e-3)
        half = batch.part(2, 4)
        again = warp(half.table, half.cuts, 32, torch.tensor(mean), torch.ones(3))
        assert torch.equal(again, crops[2:4])


def test_processes_share_the_regions_of_a_step() -> None:
    every = regions()
    dataset = RegionDataset(DetectionDataset(every.index, DRAWN.render, (), 0, every), 8, 1, square=True)
    keys: list[RegionKey] = draw().step(0)
    for rank in range(2):
        loader = RegionLoader(dataset, draw(), num_steps=1, num_classes=5, workers=0)
        with patch.multiple("detkit.data.regions.loader", rank=lambda r=rank: r, world_size=lambda: 2):
            (batch,) = loader(0, 0)
        assert batch.numbers == tuple(key.image for key in keys[rank::2])


def test_images_stay_in_memory_up_to_the_limit() -> None:
    asked: list[int] = []

    def pixels(image: int) -> np.ndarray:
        asked.append(image)
        return np.zeros((10, 10, 3), np.uint8)

    kept = PixelCache(pixels, 650.0)
    for image in (0, 1, 2, 0, 1, 2, 2):
        assert kept(image).shape == (10, 10, 3)
    assert asked == [0, 1, 2, 2, 2]
