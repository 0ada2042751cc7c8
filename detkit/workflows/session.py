"""Where and how a config runs in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.build.augmentation import eval_transforms, train_transforms
from detkit.config.schema import Config
from detkit.data.index import Index
from detkit.data.loading import TrainLoader, make_eval_loader, make_train_loader
from detkit.data.region_batch import Batch
from detkit.data.samples import DetectionDataset
from detkit.data.sets import Source
from detkit.inference.detect_set import Timing, as_detection_set, detect_set
from detkit.runtime.cores import share_of_cores
from detkit.runtime.threads import Threads, number_kept, numbers_of_threads
from detkit.structures import TrainBatch
from detkit.training.device import choose_device, choose_precision, predicting_precision, set_deterministic
from detkit.training.distributed import gather, local_rank, process_group, rank, world_size
from detkit.workflows.run_folder import say

MOST_WORKERS = 8


@dataclass(frozen=True)
class Session:
    """What a run found on this machine.

    Attributes:
        config: the config.
        device: where the model is.
        precision: what autocast computes in; None is float32.
        workers: processes that load images.
        threads: how many PyTorch computes with.
    """

    config: Config
    device: torch.device
    precision: torch.dtype | None
    workers: int
    threads: Threads = field(default_factory=Threads)

    def detect(self, model: nn.Module, source: Source) -> tuple[DetectionSet | None, Timing]:
        """Run a detector over a dataset, each process over its share.

        Args:
            model: a detector on this session's device.
            source: the images.

        Returns:
            All detections in process 0 (None in the others), and this process's time.
        """
        index = Index.of(source.annotations)
        transforms, seed = eval_transforms(self.config.data), self.config.seed
        dataset = DetectionDataset(index, source.pixels, transforms, seed, source.proposals)
        loader = make_eval_loader(
            dataset,
            batch_size=self.config.evaluate.batch_size,
            workers=self.workers,
            rank=rank(),
            world_size=world_size(),
            pin_memory=self.device.type == "cuda",
        )
        batches = self.threads.of("detection").over(loader, lambda batch: batch[0].pixels.numel())
        arrays, timing = detect_set(model, batches, device=self.device, precision=self.precision)
        gathered = gather(arrays)
        if gathered is None:
            return None, timing
        return as_detection_set(gathered, source.annotations.box_format), timing


@contextmanager
def session(config: Config, *, trains: bool) -> Iterator[Session]:
    """Join the other processes if torchrun started several, and choose device and precision.

    Args:
        config: says what is wanted.
        trains: whether the precision must be the one asked for, or may be another that this device has.

    Raises:
        UserError: the device is not there, or does not compute in the precision asked for.
    """
    device = choose_device(config.device, local_rank())
    set_deterministic(config.deterministic)
    with process_group(device), number_kept():
        choose = choose_precision if trains else predicting_precision
        precision = choose(config.train.precision, device)
        yield Session(config, device, precision, num_workers(config.data.workers), _threads(config, device))


def _threads(config: Config, device: torch.device) -> Threads:
    """Return the numbers of threads to choose from, a single one where a change would do harm."""
    compiles = config.evaluate.compile or getattr(config.train, "compile", False)
    one = config.deterministic or compiles or world_size() > 1  # each number is a translation of its own
    numbers = numbers_of_threads(None if config.threads == "auto" else config.threads, device, one=one)
    tell = say if rank() == 0 else lambda _: None
    threads = Threads(numbers, tell)
    if config.deterministic and device.type == "cpu":
        tell(f"threads: {torch.get_num_threads()} throughout, since each number rounds in its own way")
    return threads


def training_loader(
    config: Config, learned: Source, index: Index, *, batch_size: int, workers: int, pin_memory: bool
) -> TrainLoader:
    """Return the batches that a training gets, those of this process.

    Args:
        config: says how images are changed, ordered and put together.
        learned: the images to learn from.
        index: of their annotations.
        batch_size: images of one step over all processes.
        workers: processes that load images.
        pin_memory: put pixels into page-locked memory, for CUDA.
    """
    dataset = DetectionDataset(
        index, learned.pixels, train_transforms(config.data), config.seed, learned.proposals
    )
    return make_train_loader(
        dataset,
        batch_size=batch_size,
        seed=config.seed,
        workers=workers,
        rank=rank(),
        world_size=world_size(),
        group_by_aspect=config.data.group_by_aspect,
        repeat_threshold=config.data.repeat_threshold,
        num_classes=len(config.data.classes),
        pin_memory=pin_memory,
    )


def amount_of(batch: Batch) -> int:
    """Return how much work a batch is: its pixels, or the number of its regions, which are of one size."""
    return batch.images.pixels.numel() if isinstance(batch, TrainBatch) else len(batch)


def num_workers(wanted: int | None) -> int:
    """Return the number of loader processes: as wanted, or the cores that training leaves over.

    On one or two cores images are loaded between the steps: a worker would only take turns with them.
    """
    if wanted is not None:
        return wanted
    share = share_of_cores()
    return min(MOST_WORKERS, share - 1) if share > 2 else 0


def images_of(annotations: AnnotationSet) -> str:
    """Return a few words on the size of a dataset.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> images_of(two_images()[0])
        '2 images, 3 objects'
    """
    return f"{annotations.num_images:,} images, {annotations.num_objects:,} objects"
