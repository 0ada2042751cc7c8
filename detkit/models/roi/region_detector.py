"""What R-CNN and SPP-net share: a network reads regions, and what decides on them is fitted apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.capabilities import Layer
from detkit.errors import UserError
from detkit.models.image_input import ImageInput, in_file_pixels
from detkit.models.roi.box_heads import FcHead
from detkit.models.roi.decision import StagedDecision, scores_and_margins
from detkit.models.roi.selection import SELECTION_STEPS, Scored, Selection
from detkit.models.roi.traced import Judged
from detkit.structures import Detections, ImageBatch, RegionDecision, Target, Trace

SELECTION = Selection(score_threshold=0.2, per_class=100, per_image=None)


class RegionLayers(nn.Module):
    """pool5, and fc6 and fc7 where a network has them.

    Args:
        fc: fc6 and fc7; None where pool5 is all there is.
        pool5_width: length of the vectors of pool5.

    Attributes:
        widths: the layers there are, and the length of their vectors.
    """

    def __init__(self, fc: FcHead | None, pool5_width: int) -> None:
        super().__init__()
        self.fc = fc
        self.widths: dict[Layer, int] = {"pool5": pool5_width}
        if fc is not None:
            self.widths |= {"fc6": fc.channels, "fc7": fc.channels}

    def beyond(self, pool5: Tensor, layer: Layer) -> Tensor:
        """Return the (R, D') vectors of a layer from those of pool5, after the ReLU and without dropout."""
        if layer == "pool5" or self.fc is None:
            return pool5
        fc6 = F.relu(self.fc.fc6(pool5))
        return fc6 if layer == "fc6" else F.relu(self.fc.fc7(fc6))

    def last_vectors(self, pool5: Tensor) -> Tensor:
        """Return the (R, D) vectors of the last layer, with dropout while training."""
        if self.fc is None:
            return pool5
        vectors: Tensor = self.fc(pool5)
        return vectors


class RegionDetector(ImageInput):
    """Reads the regions that it is given, each by itself, and decides on their vectors.

    What the decision needs beside the fine-tuned network is fitted to its features afterwards
    (`detkit.detectors.staged_recipe`).

    Args:
        name: of the detector, for messages.
        network: makes pool5 and the layers behind it of regions.
        decision: makes scores and deltas of them.
        num_classes: K.
        selection: chooses what is reported.

    Attributes:
        equal_features_count_once: whether of negatives with the same features the SVMs get one only.
    """

    equal_features_count_once = False
    embeds_whole_images = False

    def __init__(
        self,
        name: str,
        network: RegionLayers,
        decision: StagedDecision,
        *,
        num_classes: int,
        selection: Selection = SELECTION,
    ) -> None:
        super().__init__()
        self.name, self.network, self.decision = name, network, decision
        self.num_classes, self.selection = num_classes, selection

    @property
    def layer(self) -> Layer:
        """The layer that scores are made of."""
        return self.decision.layer

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
        found = [
            self.selection(*self._scored(images.part(number, number + 1), boxes))
            if len(boxes)
            else Detections.empty(boxes.device)
            for number, boxes in enumerate(self.proposals(images))
        ]
        return in_file_pixels(found, images)

    @torch.no_grad()
    def trace(self, images: ImageBatch, objects: Sequence[Target]) -> list[Trace]:
        """Return what became of each image's proposals; see `detkit.capabilities.TracesCandidates`."""
        return [
            Judged(self._scored(images.part(number, number + 1), boxes), boxes).trace(self.selection)
            if len(boxes)
            else Trace.empty(SELECTION_STEPS)
            for number, boxes in enumerate(self.proposals(images))
        ]

    def _scored(self, image: ImageBatch, boxes: Tensor) -> Scored:
        """Return what the selection takes of regions of an image, at least one."""
        decided = [
            (*scores_and_margins(self.decision, vectors), self.decision.deltas(pool5))
            for pool5, vectors in self.read(image, boxes)
        ]
        scores, margins, deltas = zip(*decided, strict=True)
        raw = None if margins[0] is None else torch.cat(margins)
        return Scored(boxes, torch.cat(scores), torch.cat(deltas), image.sizes[0], raw)

    def decide(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        """Return what regions are, with gradient; see `detkit.capabilities.DecidesOnRegions`."""
        parts = [
            self.decision.decide(vectors, pool5, own[first : first + len(pool5)], self.selection.coder)
            for number, own in enumerate(boxes)
            for first, (pool5, vectors) in _with_first(self.read(images.part(number, number + 1), own))
        ]
        logits, scores, moved = (torch.cat(each) for each in zip(*parts, strict=True))
        return RegionDecision(logits, scores, moved)

    def embed(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return the vectors that the classes are decided on; see `detkit.capabilities.EmbedsRegions`."""
        parts = [
            vectors
            for number, own in enumerate(boxes)
            for _, vectors in self.read(images.part(number, number + 1), own)
        ]
        return torch.cat(parts)

    def proposals(self, images: ImageBatch) -> Sequence[Tensor]:
        """Return the boxes of each image on this detector's device.

        Raises:
            UserError: there are none.
        """
        if images.proposals is None:
            raise UserError(f"{self.name} needs proposals: give ImageBatch.proposals, boxes for each image")
        return [boxes.to(self.mean.device) for boxes in images.proposals]


def _with_first(read: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """Yield what was read of some regions after the other, with the place of the first of them."""
    first = 0
    for both in read:
        yield first, both
        first += len(both[0])
