"""A localizer, which says which object an image shows, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.detectors.localizer.coding import decode_boxes, encode_boxes
from detkit.models.backbones.tails import FcTail, StageTail, gaussian_linear
from detkit.models.image_input import ImageInput
from detkit.models.initialisation import he_normal
from detkit.ops.boxes import area
from detkit.ops.losses import smooth_l1
from detkit.ops.ordered_pool import adaptive_max_pool
from detkit.structures import Detections, ImageBatch, Target, TrainBatch

Attach = Literal["conv", "fc"]


class Trunk(nn.Module):
    """A published network without its logits: what heads branch off from.

    Args:
        backbone: (B, 3, H, W) normalised images -> one feature map, in a list.
        tail: what stands behind it.
    """

    def __init__(self, backbone: nn.Module, tail: FcTail | StageTail) -> None:
        super().__init__()
        self.backbone, self.tail = backbone, tail

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B, C, h, w) map of the last convolution and the (B, D) activations before the logits."""
        last = self.tail.map(self.backbone(pixels)[-1])
        return last, self.tail.vector(last)


class RegressionHead(nn.Module):
    """Regression of numbers, such as a box, from the last convolution or from the layer of the logits.

    Args:
        tail: whose map and vector it is called with.
        attach: which of the two it sees; behind the map it has a hidden layer, for means over the cells would
            not know where anything is.
        cells: cells along each side that the map is max-pooled to.
        channels: width of the hidden layer.
        dropout: share of its activations dropped.
        num_sets: sets of numbers: one, or one a class.
        num_values: numbers of a set.
    """

    def __init__(
        self,
        tail: FcTail | StageTail,
        *,
        attach: Attach,
        cells: int,
        channels: int,
        dropout: float,
        num_sets: int,
        num_values: int,
    ) -> None:
        super().__init__()
        self.attach, self.cells = attach, cells
        self.shape = num_sets, num_values
        inputs = tail.vector_channels
        self.hidden: nn.Module = nn.Identity()
        if attach == "conv":
            hidden = nn.Linear(tail.map_channels * cells**2, channels)
            he_normal(hidden)
            self.hidden, inputs = nn.Sequential(hidden, nn.ReLU(inplace=True), nn.Dropout(dropout)), channels
        self.regress = gaussian_linear(inputs, num_sets * num_values)
        self.outputs_per_class = {} if num_sets == 1 else {"regress": num_values}

    def forward(self, last: Tensor, vector: Tensor) -> Tensor:
        """Return (B, num_sets, num_values) of the two outputs of a `Trunk`."""
        seen = vector if self.attach == "fc" else adaptive_max_pool(last, self.cells).flatten(1)
        found: Tensor = self.regress(self.hidden(seen)).float()
        return found.view(len(found), *self.shape)


class Localizer(ImageInput):
    """A classifier with a second head that says where the object is that it names.

    Args:
        trunk: what both heads see, whose `tail` has the layer of the logits.
        boxes: the head of the box.
        size_px: side of the square that the network sees: the whole image, warped.
        class_agnostic: one box for all classes instead of one for each.
        beta: where smooth L1 goes over from a square to a line; None takes the squared distance.
        loss_weight: factor of the boxes' loss.
        top: how many classes are guessed for an image.

    Reference: Sermanet et al., OverFeat, ICLR 2014; Simonyan and Zisserman, ICLR 2015.
    """

    def __init__(
        self,
        trunk: Trunk,
        boxes: RegressionHead,
        *,
        size_px: int,
        class_agnostic: bool,
        beta: float | None,
        loss_weight: float,
        top: int,
    ) -> None:
        super().__init__()
        self.trunk, self.boxes = trunk, boxes
        self.size_px, self.class_agnostic = size_px, class_agnostic
        self.beta, self.loss_weight, self.top = beta, loss_weight, top

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the losses `class`, a cross entropy, and `box`.

        Of several objects in an image the largest is learned; an image without any teaches nothing.
        """
        last, vector = self.trunk(self.squares(batch.images))
        logits, codes = self.trunk.tail.logits(vector).float(), self.boxes(last, vector)
        rows, objects = self._objects(batch.targets)
        if not rows:
            return {"class": 0 * logits.sum(), "box": 0 * codes.sum()}
        labels, wanted = self._wanted(batch, rows, objects)
        share = len(rows) / len(batch)  # an image counts alike, whatever the others show
        own = self._of_class(codes[rows], labels)
        return {
            "class": share * F.cross_entropy(logits[rows], labels),
            "box": share * self.loss_weight * self.distance(own, wanted).sum(dim=1).mean(),
        }

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return the best classes of each image, best first, each with its box."""
        last, vector = self.trunk(self.squares(images))
        scores = self.trunk.tail.logits(vector).float().softmax(dim=1)
        best = torch.sort(scores, dim=1, descending=True, stable=True)
        labels = best.indices[:, : self.top]
        found = []
        for row, codes in enumerate(self.boxes(last, vector)):
            own = self._of_class(codes.expand(len(labels[row]), -1, -1), labels[row])
            boxes = decode_boxes(own, images.originals[row])
            found.append(Detections(boxes, best.values[row, : self.top], labels[row]))
        return found

    def squares(self, images: ImageBatch) -> Tensor:
        """Return the (B, 3, S, S) normalised images, each warped to the square that the network sees."""
        side = self.size_px, self.size_px
        pixels = self.prepare(images)
        if all(size == side for size in images.sizes):
            return pixels
        each = zip(pixels, images.sizes, strict=True)
        warped = [
            F.interpolate(image[None, :, :height, :width], side, mode="bilinear", antialias=True)
            for image, (height, width) in each
        ]
        return torch.cat(warped).contiguous(memory_format=torch.channels_last)

    def map_modules(self) -> list[nn.Module]:
        """Return the modules that compute maps of whole images."""
        return [self.trunk.backbone]

    def distance(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of each regressed number."""
        if self.beta is None:
            return (found - wanted).square()
        return smooth_l1(found, wanted, self.beta)

    def _of_class(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return the (N, V) codes of a class each of (N, sets, V)."""
        return codes[:, 0] if self.class_agnostic else codes[torch.arange(len(labels)), labels]

    def _objects(self, targets: Sequence[Target]) -> tuple[list[int], list[int]]:
        """Return which images of a batch have an object, and the place of the largest in each."""
        rows, objects = [], []
        for row, target in enumerate(targets):
            places = torch.nonzero(~(target.crowd | target.difficult)).flatten()
            if len(places):
                rows.append(row)
                objects.append(int(places[area(target.boxes[places]).argmax()]))
        return rows, objects

    def _wanted(self, batch: TrainBatch, rows: list[int], objects: list[int]) -> tuple[Tensor, Tensor]:
        """Return the (N,) labels and (N, 4) codes of the objects that are learned."""
        chosen = [(batch.targets[row], place) for row, place in zip(rows, objects, strict=True)]
        labels = torch.stack([target.labels[place] for target, place in chosen])
        boxes = torch.stack([target.boxes[place] for target, place in chosen])
        return labels, encode_boxes(boxes, [batch.images.sizes[row] for row in rows])
