from __future__ import annotations

import itertools
import os
from contextlib import AbstractContextManager
from unittest.mock import patch

import pytest
import torch

from detkit.data.config import DataConfig
from detkit.data.datasets.config import SyntheticDatasetConfig
from detkit.data.datasets.index import Index
from detkit.data.loading import loaders
from detkit.data.loading.loaders import (
    EvalLoader,
    TrainLoader,
    WorkerStatus,
)
from detkit.data.loading.samples import DetectionDataset
from detkit.data.transforms.geometric import Flip, RandomCrop, Transform
from detkit.errors import UserError
from detkit.structures import TrainBatch
from tests.reference.small_set import CLASSES, FlatPixels, small_set

INDEX = Index.of(small_set())
CHANGES: list[Transform] = [Flip(0.5, "horizontal"), RandomCrop(0.5, 0.5)]


DATA = DataConfig(classes=CLASSES, train=SyntheticDatasetConfig(), repeat_threshold=0.5)


def process(rank: int, world_size: int) -> AbstractContextManager[object]:
    """Be one of several processes."""
    return patch.multiple(loaders, rank=lambda: rank, world_size=lambda: world_size)


def train_loader(workers: int, pixels: FlatPixels | None = None, batch_size: int = 2) -> TrainLoader:
    dataset = DetectionDataset(INDEX, pixels or FlatPixels(INDEX), CHANGES, 3)
    return TrainLoader(DATA, dataset, batch_size=batch_size, seed=3, workers=workers, pin_memory=False)


def eval_loader(workers: int, pixels: FlatPixels | None = None) -> EvalLoader:
    dataset = DetectionDataset(INDEX, pixels or FlatPixels(INDEX), [], 0)
    return EvalLoader(dataset, batch_size=2, workers=workers, pin_memory=False)


def content(batch: TrainBatch) -> tuple[object, ...]:
    boxes = [(target.image, target.boxes.tolist(), target.labels.tolist()) for target in batch.targets]
    return batch.seed, batch.images.sizes, batch.images.originals, boxes, batch.images.pixels.tolist()


def test_workers_change_nothing_and_an_epoch_can_begin_anywhere() -> None:
    alone, helped = train_loader(0), train_loader(2)
    state = torch.random.get_rng_state()
    for epoch in (0, 1):
        expected = [content(batch) for batch in alone.epoch(epoch)]
        assert len(expected) == alone.num_steps(epoch) == helped.num_steps(epoch)
        assert [content(batch) for batch in helped.epoch(epoch)] == expected
        assert [content(batch) for batch in helped.epoch(epoch, start_step=2)] == expected[2:]
    first = [content(batch) for batch in alone.epoch(0)]
    assert first != [content(batch) for batch in alone.epoch(1)]
    # An epoch left early does not leak into the next one.
    next(iter(helped.epoch(1)))
    assert [content(batch) for batch in helped.epoch(0)] == first
    assert torch.equal(torch.random.get_rng_state(), state)


def test_processes_share_the_images_of_every_step() -> None:
    alone = train_loader(0).epoch(0)
    shares = []
    for rank in (0, 1):
        with process(rank, 2):
            shares.append(train_loader(0).epoch(0))
    for whole, *parts in zip(alone, *shares, strict=True):
        assert len({len(part) for part in parts}) == 1
        images = {target.image for part in parts for target in part.targets}
        assert images == {target.image for target in whole.targets}
        assert {part.seed for part in parts} == {whole.seed}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_plain_message(workers: int) -> None:
    for run in (
        lambda pixels: list(train_loader(workers, pixels).epoch(0)),
        lambda pixels: list(eval_loader(workers, pixels)),
    ):
        with pytest.raises(UserError) as caught:
            run(FlatPixels(INDEX, broken=(2,)))
        assert str(caught.value) == "image2.jpg: the file is truncated"
        assert caught.value.__cause__ is None


def test_training_can_go_on_after_a_broken_image() -> None:
    loader = train_loader(1, FlatPixels(INDEX, broken=(2,)))
    for _ in range(2):
        with pytest.raises(UserError, match="truncated"):
            list(loader.epoch(0))


def test_a_worker_that_dies_is_explained() -> None:
    with pytest.raises(UserError, match=r"data\.workers: .* while it read \S*image2\.jpg .*shared memory"):
        list(train_loader(1, FlatPixels(INDEX, deadly=2)).epoch(0))


def test_other_errors_are_ours_and_stay_as_they_are() -> None:
    class Failing(FlatPixels):
        def __call__(self, image: int) -> None:  # type: ignore[override]
            raise RuntimeError("a bug")

    for workers in (0, 1):
        with pytest.raises(RuntimeError, match="a bug"):
            list(train_loader(workers, Failing(INDEX)).epoch(0))


@pytest.mark.parametrize("world", [1, 2, 9])
def test_evaluation_reads_each_image_once(world: int) -> None:
    read = []
    for rank in range(world):
        with process(rank, world):
            loader = eval_loader(0)
        batches = list(loader)
        assert len(batches) == len(loader)
        for images, indices in batches:
            assert [int(pixels.max()) for pixels in images.pixels] == [10 * index for index in indices]
            assert images.originals == tuple(INDEX.size(index) for index in indices)
            read += indices
    assert sorted(read) == list(range(7))


def test_evaluation_keeps_the_order_and_can_run_again() -> None:
    loader = eval_loader(1)
    for _ in range(2):
        assert list(itertools.chain(*(indices for _, indices in loader))) == list(range(7))


def test_settings_that_cannot_work_are_refused() -> None:
    with process(0, 2), pytest.raises(UserError, match=r"train\.batch_size: 3 images .* 2 processes"):
        train_loader(0, batch_size=3)
    empty = Index.of(small_set(()))
    dataset = DetectionDataset(empty, FlatPixels(empty), [], 0)
    with pytest.raises(UserError, match=r"data\.train has no images"):
        TrainLoader(DATA, dataset, batch_size=1, seed=0, workers=0, pin_memory=False)
    assert not list(EvalLoader(dataset, batch_size=1, workers=0, pin_memory=False))


def test_the_images_of_dead_processes_are_remembered() -> None:
    status = WorkerStatus(2)
    status.note(1, 7)
    mine = os.getpid()
    assert status.images_of(f"DataLoader worker (pid {mine}) is killed by signal: Killed. ") == [7]
    assert status.images_of(f"DataLoader worker (pid(s) 1, {mine}) exited unexpectedly") == [7]
    assert status.images_of(f"DataLoader worker (pid {mine + 1}) is killed by signal: Killed. ") == []
    assert status.images_of("anything else") == []
