"""Detections of a whole dataset, gathered from all processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.annotations.coordinates import from_corners, points_from_pixels
from detkit.annotations.dataset import BoxFormat, DetectionSet
from detkit.capabilities import Detector
from detkit.data.datasets.source import Source
from detkit.data.loading.loaders import EvalLoader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.transforms.geometric import Transform
from detkit.inference.test_time_augmentation import Augmentation
from detkit.models.norm import folds_kept
from detkit.runtime.processes import gather
from detkit.runtime.session import Session
from detkit.structures import Detections, ImageBatch

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Timing:
    """How long a detector took.

    Attributes:
        num_images: images processed.
        seconds: for all of them, reading included.
    """

    num_images: int
    seconds: float


def detect_set(
    model: nn.Module,
    batches: Iterable[tuple[ImageBatch, tuple[int, ...]]],
    *,
    device: torch.device,
    precision: torch.dtype | None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> tuple[Arrays, Timing]:
    """Run a detector over batches and return flat arrays, which cost little to gather from processes.

    Args:
        model: a detector on `device`.
        batches: images and their indices in the dataset.
        device: where it runs.
        precision: what autocast computes in; None is float32.
        on_batch: called with the number of images after each batch.

    Returns:
        images (D,), labels (D,), scores (D,), boxes (D, 4) corners in pixels and keypoints (D * P * 2,), and
        the time taken.
    """
    found, timing = _detected(model, batches, device, precision, on_batch)
    return detections_as_arrays([(index, one) for index, _, one in found]), timing


@torch.inference_mode()
def _detected(
    model: nn.Module,
    batches: Iterable[tuple[ImageBatch, tuple[int, ...]]],
    device: torch.device,
    precision: torch.dtype | None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> tuple[list[tuple[int, int, Detections]], Timing]:
    """Return index and width in pixels of each image with what is found in it, and the time taken."""
    detector = cast(Detector, model)
    was_training = model.training
    model.eval()
    found: list[tuple[int, int, Detections]] = []
    count, start = 0, time.perf_counter()
    # Around all batches, so that autocast converts each weight once and each norm is folded once.
    with folds_kept(model), torch.autocast(device.type, dtype=precision, enabled=precision is not None):
        for images, indices in batches:
            result = detector.detect(images.to(device))
            each = zip(indices, images.originals, result, strict=True)
            found += [(index, width, one.to("cpu")) for index, (_, width), one in each]
            count += len(indices)
            on_batch(len(indices))
    model.train(was_training)
    return found, Timing(count, time.perf_counter() - start)


def detections_as_arrays(found: list[tuple[int, Detections]]) -> Arrays:
    """Return the detections of images as flat arrays; see `detect_set`.

    Args:
        found: index of each image in the dataset, and what is found in it, on the CPU.
    """
    numbers = [len(one) for _, one in found]
    empty = Detections.empty()
    return {
        "images": np.repeat(np.array([index for index, _ in found], dtype=np.int64), numbers),
        "labels": torch.cat([empty.labels, *(one.labels for _, one in found)]).numpy().astype(np.int32),
        "scores": torch.cat([empty.scores, *(one.scores for _, one in found)]).double().numpy(),
        "boxes": torch.cat([empty.boxes, *(one.boxes for _, one in found)]).double().numpy(),
        # Flat: a process without images does not know how many points there are.
        "keypoints": torch.cat(
            [torch.zeros(0), *(one.keypoints.flatten() for _, one in found if one.keypoints is not None)]
        )
        .double()
        .numpy(),
    }


def as_detection_set(arrays: Arrays, box_format: BoxFormat) -> DetectionSet:
    """Return flat arrays as a detection set in image order, in the box format of the annotations.

    Args:
        arrays: from `detect_set`, of one process or gathered from several.
        box_format: the convention of the annotations they are evaluated on.
    """
    order = np.argsort(arrays["images"], kind="stable")
    boxes = cast(NDArray[np.float64], arrays["boxes"])[order]
    points = None
    if len(flat := cast(NDArray[np.float64], arrays["keypoints"])):
        points = points_from_pixels(flat.reshape(len(order), -1, 2)[order], box_format)
    return DetectionSet(
        images=cast(NDArray[np.int64], arrays["images"])[order],
        labels=cast(NDArray[np.int32], arrays["labels"])[order],
        scores=cast(NDArray[np.float64], arrays["scores"])[order],
        boxes=from_corners(boxes, box_format),
        box_format=box_format,
        keypoints=points,
    )


def detect_dataset(
    model: nn.Module,
    source: Source,
    session: Session,
    *,
    transforms: Sequence[Transform],
    batch_size: int = 1,
    augmentation: Augmentation | None = None,
) -> tuple[DetectionSet | None, Timing]:
    """Run a detector over a dataset, each process over its share.

    Args:
        model: a detector on the session's device.
        source: the images, with proposals for a detector that needs them.
        session: where it runs.
        transforms: what every image goes through: the resizing, where there is one.
        batch_size: images that are processed together.
        augmentation: looks at each image several times, in place of `transforms`.

    Returns:
        All detections in process 0 (None in the others), and this process's time.
    """
    passes: list[list[tuple[int, int, Detections]]] = []
    seconds = 0.0
    for chain in [(view,) for view in augmentation.views] if augmentation else [transforms]:
        loader = EvalLoader(
            DetectionDataset.of(source, chain, seed=0),
            batch_size=batch_size,
            workers=session.workers,
            pin_memory=session.pin_memory,
        )
        batches = session.threads.of("detection").over(loader, lambda batch: batch[0].pixels.numel())
        found, timing = _detected(model, batches, session.device, session.precision)
        passes.append(found)
        seconds += timing.seconds
    merged = [
        (index, augmentation.merged([one for _, _, one in views], width) if augmentation else views[0][2])
        for views in zip(*passes, strict=True)
        for index, width, _ in views[:1]
    ]
    timing = Timing(len(merged), seconds)
    gathered = gather(detections_as_arrays(merged))
    if gathered is None:
        return None, timing
    return as_detection_set(gathered, source.annotations.box_format), timing
