"""Session and task of a config in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from detkit.annotations.dataset import DetectionSet
from detkit.config.dump import dump_config
from detkit.config.schema import Config
from detkit.data.datasets.source import Source
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.builder import build_detector
from detkit.detectors.task import Task
from detkit.inference.detect_set import Timing, detect_dataset
from detkit.inference.test_time_augmentation import Augmentation
from detkit.runtime.cores import num_workers
from detkit.runtime.device import choose_device, choose_precision, predicting_precision, set_deterministic
from detkit.runtime.processes import local_rank, process_group, rank, world_size
from detkit.runtime.progress import say
from detkit.runtime.session import Session
from detkit.runtime.threads import Threads, number_kept, numbers_of_threads


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
        wanted = None if config.threads == "auto" else config.threads
        compiles = config.evaluate.compile or config.train.compiles  # each number is a translation of its own
        one = config.deterministic or compiles or world_size() > 1
        tell: Callable[[str], None] = say if rank() == 0 else lambda _: None
        threads = Threads(numbers_of_threads(wanted, device, one=one), tell)
        if config.deterministic and device.type == "cpu":
            tell(f"threads: {torch.get_num_threads()} throughout, since each number rounds in its own way")
        precision = choose(config.train.precision, device)
        yield Session(device, precision, num_workers(config.data.workers), threads)


def task_of(config: Config, run: Session, train_set: Source, val_set: Source | None = None) -> Task:
    """Return the training that a config describes.

    Args:
        config: the config.
        run: where it runs.
        train_set: the training images, with proposals where the detector needs them.
        val_set: the validation images; None where there are none.
    """
    return Task(
        detector=config.detector,
        train=config.train,
        data=config.data,
        evaluate=config.evaluate,
        seed=config.seed,
        config_text=dump_config(config),
        session=run,
        train_set=train_set,
        val_set=val_set,
        build=build_detector,
    )


def detect_with(
    config: Config,
    run: Session,
    model: nn.Module,
    source: Source,
    augmentation: Augmentation | None = None,
) -> tuple[DetectionSet | None, Timing]:
    """Run a detector over a dataset as a config says; see `detect_dataset`."""
    return detect_dataset(
        model,
        source,
        run,
        transforms=eval_transforms(config.data),
        batch_size=config.evaluate.batch_size,
        augmentation=augmentation,
    )
