"""Session and task of a config in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from detkit.annotations.dataset import DetectionSet
from detkit.config.dump import dump_config
from detkit.config.schema import Config
from detkit.data.datasets.source import Source
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.builder import build_detector
from detkit.detectors.task import Task
from detkit.inference.detect_set import Timing, detect_dataset
from detkit.runtime.progress import say
from detkit.runtime.session import Session, open_session


@contextmanager
def session(config: Config, *, trains: bool) -> Iterator[Session]:
    """Join the other processes if torchrun started several, and choose device and precision.

    Args:
        config: says what is wanted.
        trains: whether the precision must be the one asked for, or may be another that this device has.

    Raises:
        UserError: the device is not there, or does not compute in the precision asked for.
    """
    with open_session(
        config.device,
        config.train.precision,
        config.data.workers,
        None if config.threads == "auto" else config.threads,
        trains=trains,
        deterministic=config.deterministic,
        compiles=config.evaluate.compile or config.train.compiles,
        tell=say,
    ) as run:
        yield run


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
    config: Config, run: Session, model: nn.Module, source: Source
) -> tuple[DetectionSet | None, Timing]:
    """Run a detector over a dataset as a config says; see `detect_dataset`."""
    return detect_dataset(
        model, source, run, transforms=eval_transforms(config.data), batch_size=config.evaluate.batch_size
    )
