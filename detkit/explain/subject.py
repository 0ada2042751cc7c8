"""What is explained: one number that a model gives of one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal, cast

import torch
from torch import Tensor, nn

from detkit.capabilities import DecidesOnRegions, Detector, ScoresObjectness
from detkit.errors import UserError
from detkit.models.norm import keep_folds
from detkit.ops.boxes import pairwise_iou
from detkit.structures import IMAGENET_MEAN, IMAGENET_STD, ImageBatch

Output = Literal["class", "objectness", "x1", "y1", "x2", "y2"]
OnStep = Callable[[int], None]
"""Called with how many images more were looked at."""

COORDINATES: tuple[Output, ...] = ("x1", "y1", "x2", "y2")
GREY = tuple(round(255 * mean) for mean in IMAGENET_MEAN)
"""The mean colour, which networks see as nothing: what pixels are replaced by."""

IMAGES_AT_ONCE = 8
_STATISTICS = IMAGENET_MEAN, IMAGENET_STD


def normalised(pixels: Tensor) -> Tensor:
    """Return (B, 3, H, W) uint8 RGB images as networks see them: float, ImageNet's mean 0 and deviation 1."""
    mean, std = (255 * pixels.new_tensor(of, dtype=torch.float32).view(3, 1, 1) for of in _STATISTICS)
    return (pixels - mean) / std


def require_box(box: Sequence[float] | None) -> None:
    """Check that what a user calls a box is one.

    Raises:
        UserError: it has not four finite numbers, or no area.
    """
    if box is not None and (
        len(box) != len(COORDINATES) or not all(map(isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]
    ):
        raise UserError(f"box: expected x1,y1,x2,y2 with x1 < x2 and y1 < y2; got {','.join(map(str, box))}")


@dataclass(frozen=True)
class Subject:
    """One number that a model gives of one image: what is explained.

    Attributes:
        model: in evaluation mode.
        image: a batch of one, (1, 3, H, W) uint8 RGB on the model's device, with the proposals that its
            detector is given.
        box: (4,) corner box of the region, in pixels of the image file.
        label: the class.
        output: the logit of the class at the region, the objectness of the proposal network's anchor there,
            or a coordinate of the region as it is moved for the class.
    """

    model: nn.Module
    image: ImageBatch
    box: Tensor
    label: int
    output: Output = "class"

    @property
    def has_gradient(self) -> bool:
        """Whether the model says of a given region what it is, with a gradient to the pixels."""
        wanted = ScoresObjectness if self.output == "objectness" else DecidesOnRegions
        return isinstance(self.model, wanted)

    @property
    def region(self) -> Tensor:
        """The (1, 4) region in pixels of the batch."""
        (height, width), (old_height, old_width) = self.image.sizes[0], self.image.originals[0]
        scale = self.box.new_tensor((width / old_width, height / old_height)).repeat(2)
        return (self.box * scale)[None].to(self.image.pixels.device)

    def normalised(self) -> Tensor:
        """Return the (1, 3, H, W) float image as networks see it."""
        return normalised(self.image.pixels)

    def value(self, pixels: Tensor) -> Tensor:
        """Return (B,) values of changed images, with gradient: a logit, or pixels of the batch.

        Args:
            pixels: (B, 3, H, W) changed copies of the image, uint8 RGB, or float and normalised.

        Raises:
            UserError: the model does not say.
        """
        images, boxes = self._batch(pixels), [self.region] * len(pixels)
        if self.output == "objectness":
            return cast(ScoresObjectness, self.model).objectness(images, boxes)
        decision = cast(DecidesOnRegions, self.model).decide(images, boxes)
        if self.output == "class":
            return decision.logits[:, self.label]
        if decision.boxes is None:
            raise UserError(f"--target {self.output}: the model finds classes of whole images, and no boxes")
        own = self.label if decision.boxes.shape[1] > 1 else 0
        return decision.boxes[:, own, COORDINATES.index(self.output)]

    @torch.no_grad()
    def scores(self, pixels: Tensor) -> Tensor:
        """Return (B,) float32 scores on the CPU: a probability, or pixels for a coordinate.

        A model that reads no given regions is asked what it detects; see `similarities`.

        Args:
            pixels: (B, 3, H, W) uint8 RGB, changed copies of the image.
        """
        if not self.has_gradient:
            return self.similarities(pixels)
        return torch.cat([self._scores(some) for some in torch.split(pixels, IMAGES_AT_ONCE)]).float().cpu()

    def _scores(self, pixels: Tensor) -> Tensor:
        if self.output != "class":
            value = self.value(pixels)
            return value.sigmoid() if self.output == "objectness" else value
        model = cast(DecidesOnRegions, self.model)
        return model.decide(self._batch(pixels), [self.region] * len(pixels)).scores[:, self.label]

    @torch.no_grad()
    def similarities(self, pixels: Tensor) -> Tensor:
        """Return (B,) float32: of the detections of the class, the highest score times IoU with the box.

        This is D-RISE's similarity where a detection has one class and its score (Petsiuk et al., Black-box
        explanation of object detectors via saliency maps, CVPR 2021).

        Args:
            pixels: (B, 3, H, W) uint8 RGB, changed copies of the image.
        """
        found = []
        for some in torch.split(pixels, IMAGES_AT_ONCE):
            for own in cast(Detector, self.model).detect(self._batch(some)):
                iou = pairwise_iou(own.boxes.cpu(), self.box.cpu()[None])[:, 0]
                alike = iou * own.scores.cpu() * (own.labels.cpu() == self.label)
                found.append(alike.max() if len(alike) else torch.zeros(()))
        return torch.stack(found).float()

    def with_random_layers(self, seed: int, stages: int) -> Iterator[Subject]:
        """Yield the same subject of copies of the model whose weights are shuffled, from the output down.

        Each copy is the one before with further layers at random; the last has all. Shuffling a layer's
        weights keeps their distribution, and so the size of the activations.

        Args:
            seed: of the permutations.
            stages: into how many parts the layers are divided.
        """
        model = deepcopy(self.model)
        chance = torch.Generator().manual_seed(seed)
        layers = [
            layer for layer in model.modules() if next(layer.parameters(recurse=False), None) is not None
        ]
        layers.reverse()
        stages = min(stages, len(layers))
        for stage in range(stages):
            for layer in layers[stage * len(layers) // stages : (stage + 1) * len(layers) // stages]:
                for weights in layer.parameters(recurse=False):
                    order = torch.randperm(weights.numel(), generator=chance).to(weights.device)
                    weights.data = weights.data.flatten()[order].view(weights.shape)
            keep_folds(model)  # those that were kept are of the old weights
            yield replace(self, model=model)

    def _batch(self, pixels: Tensor) -> ImageBatch:
        image, count = self.image, len(pixels)
        proposals = None if image.proposals is None else image.proposals * count
        return ImageBatch(pixels, image.sizes * count, image.originals * count, proposals)
