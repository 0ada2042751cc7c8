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
from detkit.models.image_input import in_file_pixels
from detkit.ops.kernels.dpm_feature_loops import CHANNELS
from detkit.ops.nms import nms_by_own_area
from detkit.structures import Detections, ImageBatch

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
        found = []
        for pixels, (height, width) in zip(images.pixels, images.sizes, strict=True):
            image = pixels[:, :height, :width].permute(1, 2, 0).contiguous().cpu().numpy()
            found.append(self._detections(self.placements(image), (height, width)))
        device = images.pixels.device
        return in_file_pixels([own.to(device) for own in found], images)

    def placements(self, image: Array) -> list[Found]:
        """Return for each class all placements of its models whose score is above the class's threshold.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        few = None if self.projection is None else self.projection.numpy(force=True)
        models = [
            ClassModel(mixture.components(), float(mixture.threshold), few)
            for mixture in cast(Sequence[Mixture], self.mixtures)
        ]
        return search(image, self.pyramid, models, torch.get_num_threads())

    def filter_pictures(self) -> list[NDArray[np.uint8]]:
        """Return for each class a picture of its root filters and of their parts, (H, W, 3) uint8 RGB."""
        return [mixture_picture(mixture) for mixture in cast(Sequence[Mixture], self.mixtures)]

    def objects(self, label: int, found: Found, size: tuple[int, int]) -> tuple[Array, Array]:
        """Return the (N, 4) boxes of objects in pixels, and which placements they are made of, best first.

        The sides of an object are predicted from where the filters are. Boxes are clipped to the image, and
        dropped where a better one covers too much of them.

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
        order = order[inside]
        scores = torch.from_numpy(found.scores[order])
        kept = nms_by_own_area(torch.from_numpy(boxes), scores, self.nms_share).numpy()
        return boxes[kept], order[kept]

    def _detections(self, found: list[Found], size: tuple[int, int]) -> Detections:
        chosen = [self.objects(label, own, size) for label, own in enumerate(found)]
        scores = [own.scores[kept] for own, (_, kept) in zip(found, chosen, strict=True)]
        if self.context is not None:
            inputs = context_of(scores, [own_boxes for own_boxes, _ in chosen], size)
            cubics = self.context.numpy(force=True)
            scores = [rescored(own, cubic) for own, cubic in zip(inputs, cubics, strict=True)]
        boxes = [torch.from_numpy(own_boxes).float() for own_boxes, _ in chosen]
        margins = [torch.from_numpy(own) for own in scores]
        labels = [torch.full((len(own),), label) for label, own in enumerate(scores)]
        parts = [
            torch.from_numpy(own.filters[kept, 1:]).float()
            for own, (_, kept) in zip(found, chosen, strict=True)
        ]
        order = torch.cat(margins).sort(descending=True, stable=True).indices
        sorted_margins = torch.cat(margins)[order]
        return Detections(
            torch.cat(boxes)[order],
            sorted_margins.sigmoid().float(),
            torch.cat(labels)[order],
            sorted_margins.float(),
            torch.cat(parts)[order],
        )
