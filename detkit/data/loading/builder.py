"""`data` of a config -> loaders of batches."""

from __future__ import annotations

from detkit.data.config import DataConfig
from detkit.data.datasets.index import Index
from detkit.data.datasets.source import Source
from detkit.data.loading.loaders import TrainLoader, make_train_loader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.transforms.builder import train_transforms
from detkit.runtime.processes import rank, world_size


def build_train_loader(
    data: DataConfig, source: Source, *, batch_size: int, seed: int, workers: int, pin_memory: bool
) -> TrainLoader:
    """Return the batches that a training gets, those of this process.

    Args:
        data: says how images are augmented, ordered and put together.
        source: the training images.
        batch_size: images of one step over all processes.
        seed: seeds order and augmentation.
        workers: processes that load images.
        pin_memory: put pixels into page-locked memory, for CUDA.
    """
    index = Index.of(source.annotations)
    dataset = DetectionDataset(index, source.pixels, train_transforms(data), seed, source.proposals)
    return make_train_loader(
        dataset,
        batch_size=batch_size,
        seed=seed,
        workers=workers,
        rank=rank(),
        world_size=world_size(),
        group_by_aspect=data.group_by_aspect,
        repeat_threshold=data.repeat_threshold,
        num_classes=len(data.classes),
        pin_memory=pin_memory,
    )
