"""What a DPM's context is learned from: the detections of all classes in the training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from detkit.data.loading.samples import DetectionDataset, Key
from detkit.detectors.dpm.context import context_of, found_objects
from detkit.detectors.dpm.model import DPM
from detkit.ops.boxes import pairwise_iou
from detkit.runtime.progress import ProgressLine

Array = NDArray[Any]


def described_detections(
    model: DPM, images: DetectionDataset, chosen: Sequence[int]
) -> list[tuple[int, int, Array, Array, Array]]:
    """Return of each chosen image and class: both, and inputs, scores and kinds of its detections.

    Args:
        model: without its context.
        images: as a test sees them.
        chosen: which of them.
    """
    found = []
    with ProgressLine("detections in their context", len(chosen)) as progress:
        for done, image in enumerate(chosen, 1):
            sample = images[Key(0, image)]
            pixels, target = sample.image.permute(1, 2, 0).contiguous().numpy(), sample.target
            size = pixels.shape[0], pixels.shape[1]
            placements = model.placements(pixels)
            objects = [model.objects(label, own, size) for label, own in enumerate(placements)]
            scores = [own.scores[kept] for own, (_, kept) in zip(placements, objects, strict=True)]
            boxes = [own for own, _ in objects]
            for label, inputs in enumerate(context_of(scores, boxes, size)):
                of_class = target.labels == label
                ious = pairwise_iou(torch.from_numpy(boxes[label]), target.boxes[of_class].double())
                uncounted = (target.difficult | target.crowd)[of_class].numpy()
                kinds = found_objects(scores[label], ious.numpy(), uncounted)
                found.append((image, label, inputs, scores[label], kinds))
            progress(done)
    return found
