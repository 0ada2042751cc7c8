"""Loaders of training and evaluation batches, in this process or in workers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from detkit.data.config import DataConfig
from detkit.data.datasets.index import Index
from detkit.data.loading.batching import PackedBatch, collate
from detkit.data.loading.order import Order, aspect_groups, repeat_factors
from detkit.data.loading.samples import DetectionDataset, Key, Sample
from detkit.errors import UserError
from detkit.runtime.processes import rank, world_size
from detkit.structures import ImageBatch, TrainBatch

NOTHING = -1
_WORKERS = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")


class TrainLoader:
    """The training batches of this process; any epoch can be read from any step.

    Args:
        data: says which images are put together, and how often each comes.
        dataset: what to read.
        batch_size: images of one step over all processes.
        seed: which order.
        workers: processes that read ahead; 0 reads in this process.
        pin_memory: put pixels into page-locked memory, for CUDA.

    Raises:
        UserError: there are no images, or the batch does not divide by the number of processes.
    """

    def __init__(
        self,
        data: DataConfig,
        dataset: DetectionDataset,
        *,
        batch_size: int,
        seed: int,
        workers: int,
        pin_memory: bool,
    ) -> None:
        if not len(dataset):
            raise UserError("data.train has no images")
        if batch_size % world_size():
            raise UserError(
                f"train.batch_size: {batch_size} images cannot be divided among {world_size()} processes; "
                f"choose a multiple of {world_size()}"
            )
        index = dataset.index
        groups = aspect_groups(index) if data.group_by_aspect else np.zeros(len(index), dtype=np.int64)
        repeats = repeat_factors(index, len(data.classes), data.repeat_threshold)
        self._order = Order(repeats, groups, batch_size, seed, rank(), world_size())
        self._plan: list[list[Key]] = []  # the batches that the loader is to read
        self._loader = guarded_loader(dataset, self._plan, partial(_pack, seed=seed), workers, pin_memory)

    def num_steps(self, epoch: int) -> int:
        """Return the number of batches in an epoch, the same in every process."""
        return self._order.num_steps(epoch)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[TrainBatch]:
        """Yield the batches of an epoch, without those before `start_step`.

        Raises:
            UserError: an image cannot be read or contradicts its annotation.
        """
        self._plan[:] = self._order.batches(epoch)[start_step:]
        for packed in read_batches(self._loader):
            yield packed.unpack()


class EvalLoader:
    """Each image once and in order, for evaluation and prediction, in batches with the images' indices.

    Of several processes each gets images rank, rank + world_size, ...

    Args:
        dataset: what to read; no images give no batches.
        batch_size: images of one batch in this process; the last may have fewer.
        workers: processes that read ahead; 0 reads in this process.
        pin_memory: put pixels into page-locked memory, for CUDA.
    """

    def __init__(self, dataset: DetectionDataset, *, batch_size: int, workers: int, pin_memory: bool) -> None:
        keys = [Key(0, image) for image in range(rank(), len(dataset), world_size())]
        plan = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
        self._loader = guarded_loader(dataset, plan, partial(_pack, seed=0), workers, pin_memory)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[ImageBatch, tuple[int, ...]]]:
        """Yield (images, indices).

        Raises:
            UserError: an image cannot be read or contradicts its annotation.
        """
        for packed in read_batches(self._loader):
            batch = packed.unpack()
            yield batch.images, batch.numbers


@dataclass(frozen=True)
class Refusal:
    """A user's mistake found in a worker; raised there, it would come out as a wrapped traceback."""

    message: str


class Guardable(Protocol):
    """A dataset of images, or of parts of images, by keys that name the image."""

    @property
    def index(self) -> Index:
        """The images."""
        ...

    def __getitem__(self, key: Any) -> Any:
        """Return one item of the image `key.image`."""
        ...


class _Guarded(Dataset[Any]):
    def __init__(self, dataset: Guardable, status: WorkerStatus) -> None:
        self._dataset = dataset
        self._status = status

    def explain(self, error: RuntimeError) -> UserError:
        """Return what there is to say about a dead loader process."""
        images = self._status.images_of(str(error))
        names = ", ".join(self._dataset.index.path(image) for image in images)
        busy = f" while it read {names}" if names else ""
        return UserError(
            f"data.workers: a process that loads images was ended from outside{busy} ({error}); memory or "
            "shared memory may be short: take fewer workers, or 0 to load in the main process"
        )

    def __getitem__(self, key: Any) -> Any:
        worker = get_worker_info()
        if worker is not None:
            self._status.note(worker.id, key.image)
        try:
            return self._dataset[key]
        except UserError as error:
            return Refusal(str(error))


def _unless_refused(items: Sequence[Any], collate_fn: Callable[[Sequence[Any]], Any]) -> Any:
    """Return items put together, or the first refusal among them."""
    refused = [item for item in items if isinstance(item, Refusal)]
    return refused[0] if refused else collate_fn(items)


def _pack(samples: Sequence[Sample], seed: int) -> PackedBatch:
    return PackedBatch.of(collate(samples, seed))


def read_batches(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the batches of a guarded loader.

    Raises:
        UserError: an item could not be read, or a worker died.
    """
    items = iter(loader)
    while True:
        try:
            item = next(items, None)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker (pid"):
                raise
            raise cast(_Guarded, loader.dataset).explain(error) from None
        if item is None:
            return
        if isinstance(item, Refusal):
            raise UserError(item.message)
        yield item


def guarded_loader(
    dataset: Guardable,
    plan: Iterable[list[Any]],
    collate_fn: Callable[[Sequence[Any]], Any],
    workers: int,
    pin_memory: bool,
) -> DataLoader[Any]:
    """Return a loader whose workers hand over a user's mistake instead of a traceback.

    Args:
        dataset: what to read.
        plan: the keys of each batch.
        collate_fn: puts items together.
        workers: processes that read ahead; 0 reads in this process.
        pin_memory: put tensors into page-locked memory, for CUDA.
    """
    return DataLoader(
        _Guarded(dataset, WorkerStatus(workers)),
        batch_sampler=plan,
        num_workers=workers,
        collate_fn=partial(_unless_refused, collate_fn=collate_fn),
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # the global one would move on with every epoch
    )


def _start_worker(worker: int) -> None:
    """Keep OpenCV to this thread, as torch keeps itself, and leave Ctrl-C to the main process."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class WorkerStatus:
    """One line for each loader process, in memory that all of them share: its process id and its image.

    Args:
        workers: number of loader processes.
    """

    def __init__(self, workers: int) -> None:
        self._lines = torch.full((workers, 2), NOTHING, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def note(self, worker: int, image: int) -> None:
        """Write down, in a loader process, that it begins with an image."""
        self._lines[worker, 0] = os.getpid()
        self._lines[worker, 1] = image

    def images_of(self, message: str) -> list[int]:
        """Return the images that processes were busy with that torch reports as dead.

        Args:
            message: torch's own, which gives their process ids.
        """
        found = _WORKERS.match(message)
        dead = {int(number) for number in found[1].split(",")} if found else set()
        return [image for process, image in self._lines.tolist() if process in dead and image != NOTHING]
