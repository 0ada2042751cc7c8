"""What R-CNN and SPP-net share: a network reads regions, and what decides on them is learned apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from detkit.capabilities import Layer
from detkit.errors import UserError
from detkit.models.image_input import ImageInput, in_file_pixels
from detkit.models.roi.class_boxes import ClassBoxes
from detkit.models.roi.region_layers import RegionLayers
from detkit.models.roi.svm_decision import RidgeDeltas, SVMScores
from detkit.structures import Detections, ImageBatch


class RegionDetector(ImageInput):
    """Reads the regions it is told to look at; SVMs or a softmax say what they are, ridge regression where.

    The softmax is what fine-tunes the network; the SVMs and the regression are learned from its features
    afterwards (`detkit.detectors.staged_recipe`).

    Args:
        name: of the detector, for messages.
        network: makes pool5 and the layers behind it of regions.
        num_classes: K.
        svms: the SVMs and the layer they see; None takes the softmax.
        box_deltas: box regression from pool5; None leaves boxes as they are proposed.
        report: chooses what is reported.

    Attributes:
        equal_features_count_once: whether of negatives with the same features the SVMs learn from one only.
    """

    equal_features_count_once = False

    def __init__(
        self,
        name: str,
        network: RegionLayers,
        *,
        num_classes: int,
        svms: tuple[SVMScores, Layer] | None,
        box_deltas: RidgeDeltas | None,
        report: ClassBoxes,
    ) -> None:
        super().__init__()
        self.name, self.network, self.report = name, network, report
        self.num_classes = num_classes
        self.classifier = nn.Linear(network.widths[network.last], num_classes + 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.outputs_per_class = {"classifier": 1}
        self.svms = None if svms is None else svms[0]
        self.layer: Layer = network.last if svms is None else svms[1]
        self.box_deltas = box_deltas

    @property
    def widths(self) -> dict[Layer, int]:
        """The layers there are, and the length of their vectors."""
        return self.network.widths

    @abstractmethod
    def read(self, image: ImageBatch, boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (r, D) pool5 and (r, D') vectors of the layer that decides, some regions at a time.

        Args:
            image: a batch of one.
            boxes: (R, 4) corner boxes in its pixels, at least one.
        """

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file.

        Raises:
            UserError: the batch does not say where to look.
        """
        found = []
        for number, (boxes, size) in enumerate(zip(self.proposals(images), images.sizes, strict=True)):
            if len(boxes) == 0:
                found.append(Detections.empty(boxes.device))
                continue
            read = self.read(images.part(number, number + 1), boxes)
            judged = [(self.scores(vectors), self.deltas(pool5)) for pool5, vectors in read]
            scores, deltas = (torch.cat(parts) for parts in zip(*judged, strict=True))
            found.append(self.report(boxes, scores, deltas, size))
        return in_file_pixels(found, images)

    def scores(self, vectors: Tensor) -> Tensor:
        """Return (R, K) scores in [0, 1]."""
        if self.svms is not None:
            scores: Tensor = self.svms(vectors)
            return scores
        logits: Tensor = self.classifier(vectors)
        return logits.float().softmax(1)[:, :-1]

    def deltas(self, pool5: Tensor) -> Tensor:
        """Return (R, K, 4) deltas; without box regression they are 0."""
        if self.box_deltas is not None:
            deltas: Tensor = self.box_deltas(pool5)
            return deltas
        return pool5.new_zeros((len(pool5), 1, 4), dtype=torch.float32)

    def proposals(self, images: ImageBatch) -> Sequence[Tensor]:
        """Return the boxes of each image on this detector's device.

        Raises:
            UserError: there are none.
        """
        if images.proposals is None:
            raise UserError(
                f"{self.name} looks only where it is told: give ImageBatch.proposals, boxes for each image"
            )
        return [boxes.to(self.mean.device) for boxes in images.proposals]
