"""Deformable part models (Felzenszwalb, Girshick, McAllester and Ramanan, PAMI 2010; voc-release5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detkit.detectors.dpm.context import context_of, rescored
from detkit.detectors.dpm.object_boxes import clipped, predicted
from detkit.detectors.dpm.pictures import mixture_picture
from detkit.detectors.dpm.placements import ClassModel, Found
from detkit.detectors.dpm.search import search
from detkit.detectors.dpm.stars import Mixture
from detkit.models.hog.feature_pyramid import FeaturePyramid
from detkit.models.image_input import in_file_pixels, plain_images
from detkit.models.traced_windows import nearest_rows, trace_suppressed
from detkit.ops.boxes import pairwise_ioa
from detkit.ops.kernels.dpm_feature_loops import CHANNELS
from detkit.ops.nms import nms_by_own_area
from detkit.structures import Detections, ImageBatch, Target, Trace

Array = NDArray[Any]


class DPM(nn.Module):
    """A mixture of star models for each class, looked for in a pyramid of histograms of gradients.

    It computes on the CPU. Its scores are margins: those of a linear SVM, of any size.

    Args:
        mixtures: those of the K classes.
        pyramid: the sizes of an image that are looked at.
        nms_share: a detection is dropped where a better one of its class covers more of it than this.
        channels: of the features that a star-cascade begins with; None looks at all places of all parts.
        context: whether detections are scored anew in their context.
    """

    projection: Tensor | None
    context: Tensor | None

    def __init__(
        self,
        mixtures: Sequence[Mixture],
        *,
        pyramid: FeaturePyramid,
        nms_share: float = 0.5,
        channels: int | None = None,
        context: bool = False,
    ) -> None:
        super().__init__()
        self.mixtures = nn.ModuleList(mixtures)
        self.pyramid, self.nms_share = pyramid, nms_share
        few = None if channels is None else torch.zeros((CHANNELS, channels), dtype=torch.float64)
        self.register_buffer("projection", few)
        side = len(mixtures) + 6  # score, box, the best of each class, and 1
        cubics = torch.zeros((len(mixtures), side, side, side), dtype=torch.float64) if context else None
        self.register_buffer("context", cubics)

    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return the detections of each image, best first."""
        each = zip(plain_images(images), images.sizes, strict=True)
        found = [self._detections(self.placements(image), size) for image, size in each]
        device = images.pixels.device
        return in_file_pixels([own.to(device) for own in found], images)

    def trace(self, images: ImageBatch, objects: Sequence[Target]) -> list[Trace]:
        """Return what became of each image's placements; see `detkit.capabilities.TracesCandidates`."""
        each = zip(plain_images(images), images.sizes, objects, strict=True)
        return [self._trace(*own) for own in each]

    def _trace(self, image: Array, size: tuple[int, int], target: Target) -> Trace:
        above, every = self.placements(image), self.placements(image, every=target.labels.tolist())
        parts, num_compared = [self._detections(above, size)], 0
        for label, (own, low) in enumerate(zip(above, every, strict=True)):
            boxes, rows = self.boxes(label, own, size)
            lost = np.setdiff1d(np.arange(len(rows)), self._kept(boxes, own.scores[rows]))
            parts.insert(1, _said(boxes[lost], own.scores[rows[lost]], own.filters[rows[lost]], label))
            num_compared += len(lost)
            below = low.part(low.scores <= float(cast(Mixture, self.mixtures[label]).threshold))
            boxes, rows = self.boxes(label, below, size)
            near = nearest_rows(torch.from_numpy(boxes).float(), target.boxes.cpu()).numpy()
            parts.append(_said(boxes[near], below.scores[rows[near]], below.filters[rows[near]], label))
        found = Detections.joined(parts)
        kept = torch.arange(len(parts[0]))
        compared = torch.arange(len(found)) < len(kept) + num_compared
        share = self.nms_share
        return trace_suppressed(found, found.boxes, compared, kept, nms_iou=share, overlap=pairwise_ioa)

    def placements(self, image: Array, every: Sequence[int] = ()) -> list[Found]:
        """Return for each class all placements of its models whose score is above the class's threshold.

        Args:
            image: (H, W, 3) uint8 RGB.
            every: classes of which all placements are returned, whatever their score.
        """
        few = None if self.projection is None or every else self.projection.numpy(force=True)
        models = [
            ClassModel(mixture.components(), -np.inf if label in every else float(mixture.threshold), few)
            for label, mixture in enumerate(cast(Sequence[Mixture], self.mixtures))
        ]
        return search(image, self.pyramid, models, torch.get_num_threads())

    def filter_pictures(self) -> list[NDArray[np.uint8]]:
        """Return for each class a picture of its root filters and of their parts, (H, W, 3) uint8 RGB."""
        return [mixture_picture(mixture) for mixture in cast(Sequence[Mixture], self.mixtures)]

    def objects(self, label: int, found: Found, size: tuple[int, int]) -> tuple[Array, Array]:
        """Return the (N, 4) boxes of objects in pixels, and which placements they are made of, best first.

        Boxes are dropped where a better one covers too much of them; see `boxes`.
        """
        boxes, order = self.boxes(label, found, size)
        kept = self._kept(boxes, found.scores[order])
        return boxes[kept], order[kept]

    def boxes(self, label: int, found: Found, size: tuple[int, int]) -> tuple[Array, Array]:
        """Return the (N, 4) boxes of all objects in pixels, and which placements they are made of.

        The sides of an object are predicted from where the filters are. Boxes are clipped to the image.

        Args:
            label: the class.
            found: its placements.
            size: (height, width) of the image in pixels.
        """
        mixture = cast(Mixture, self.mixtures[label])
        predictions = [component.box for component in mixture.components()]
        # In the order of their components, which decides between equal scores.
        order = np.argsort(found.components, kind="stable")
        boxes, inside = clipped(found.filters[order, 0], size)
        order = order[inside]
        for number, prediction in enumerate(predictions):
            own = found.components[order] == number
            if prediction is not None:
                boxes[own] = predicted(boxes[own], found.filters[order[own]], prediction)
        boxes, inside = clipped(boxes, size)
        return boxes, order[inside]

    def _kept(self, boxes: Array, scores: Array) -> Array:
        """Return which boxes are not dropped, best first."""
        return nms_by_own_area(torch.from_numpy(boxes), torch.from_numpy(scores), self.nms_share).numpy()

    def _detections(self, found: list[Found], size: tuple[int, int]) -> Detections:
        chosen = [self.objects(label, own, size) for label, own in enumerate(found)]
        scores = [own.scores[kept] for own, (_, kept) in zip(found, chosen, strict=True)]
        if self.context is not None:
            inputs = context_of(scores, [own_boxes for own_boxes, _ in chosen], size)
            cubics = self.context.numpy(force=True)
            scores = [rescored(own, cubic) for own, cubic in zip(inputs, cubics, strict=True)]
        found_in_classes = [
            _said(boxes, margins, own.filters[kept], label)
            for label, (own, (boxes, kept), margins) in enumerate(zip(found, chosen, scores, strict=True))
        ]
        # By the margins in float64, which differ where the scores do not.
        order = torch.from_numpy(np.concatenate(scores)).sort(descending=True, stable=True).indices
        return Detections.joined(found_in_classes).at(order)


def _said(boxes: Array, margins: Array, filters: Array, label: int) -> Detections:
    """Return (N, 4) boxes of a class as detections; filters are (N, 1 + P, 4), the root first."""
    scores = torch.from_numpy(margins)
    return Detections(
        torch.from_numpy(boxes).float(),
        scores.sigmoid().float(),
        torch.full((len(scores),), label),
        scores.float(),
        torch.from_numpy(filters[:, 1:]).float(),
    )
