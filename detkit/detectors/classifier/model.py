"""An image classifier, which says of the whole image what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.errors import UserError
from detkit.models.backbones.tails import FcTail, StageTail
from detkit.models.image_input import ImageInput
from detkit.structures import (
    Detections,
    ImageBatch,
    PaddedBatch,
    PaddedDetections,
    RegionDecision,
    TrainBatch,
)

Crops = Literal["center", "ten"]


class Classifier(ImageInput):
    """A backbone and the rest of its network. What it finds is classes, with the image as their box.

    Args:
        backbone: (B, 3, H, W) normalised images -> one feature map, in a list.
        tail: (B, C, H, W) features -> (B, K) logits.
        crop_px: side of the square that the network sees.
        crops: which squares of an image are looked at in a test.
        scales: sizes of the image in a test, as shares of the one that comes.
        label_smoothing: share of the target that is spread over all classes.
        top: how many classes are reported for an image.
    """

    embeds_whole_images = True

    def __init__(
        self,
        backbone: nn.Module,
        tail: nn.Module,
        *,
        crop_px: int,
        crops: Crops,
        scales: tuple[float, ...],
        label_smoothing: float,
        top: int,
    ) -> None:
        super().__init__()
        self.backbone, self.tail = backbone, tail
        self.crop_px, self.crops, self.scales = crop_px, crops, scales
        self.label_smoothing, self.top = label_smoothing, top

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the cross entropy as `class`; of images of another size the centre is cut out.

        Raises:
            UserError: an image has not exactly one class, because a transform of the user's own took it.
        """
        pixels = self.prepare(batch.images)
        if {pixels.shape[2:]} != {torch.Size(size) for size in batch.images.sizes}:
            cuts = [views(image, self.crop_px, "center", (1.0,)) for image in self._unpadded(batch.images)]
            pixels = torch.cat(cuts)
        for target in batch.targets:
            if len(target) != 1:
                raise UserError(f"image {target.image} has {len(target)} classes; a classifier learns one")
        labels = torch.cat([target.labels for target in batch.targets])
        logits = self.logits(pixels).float()
        return {"class": F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)}

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return the best classes of each image, best first, with the whole image as their box."""
        cuts = [views(image, self.crop_px, self.crops, self.scales) for image in self._unpadded(images)]
        scores = self.logits(torch.cat(cuts)).float().softmax(dim=1)
        means = scores.view(len(cuts), -1, scores.shape[1]).mean(dim=1)  # each image has as many cuts
        return [self._best(mean, size) for mean, size in zip(means, images.originals, strict=True)]

    def decide(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        """Return what the centre of each image shows; see `detkit.capabilities.DecidesOnRegions`."""
        logits = self.logits(self._centres(images)).float()
        return RegionDecision(logits, logits.softmax(dim=1), None)

    def embed(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return the vectors that the logits are made of; see `detkit.capabilities.EmbedsRegions`."""
        tail = cast(FcTail | StageTail, self.tail)
        vectors: Tensor = tail.vector(tail.map(self.backbone(self._centres(images))[-1]))
        return vectors

    def seen(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return x1, y1, x2, y2 of the centre that is looked at of an image of (height, width) pixels."""
        top, left = (max(0, side - self.crop_px) // 2 for side in size)
        return left, top, left + self.crop_px, top + self.crop_px

    def detect_padded(self, images: PaddedBatch) -> PaddedDetections:
        """Return what `detect` does; see `DetectsPadded`.

        Raises:
            UserError: images are looked at in several sizes.
        """
        if self.scales != (1.0,):
            raise UserError("detector.views.scales: an exported graph sees an image in one size; take [1.0]")
        cuts = views_padded(self.prepare_padded(images), images.sizes, self.crop_px, self.crops)
        scores = self.logits(cuts.flatten(0, 1)).float().softmax(dim=1)
        means = torch.unflatten(scores, 0, cuts.shape[:2]).mean(dim=1)
        best, labels = means.topk(min(self.top, means.shape[1]), dim=1)
        sides = images.originals.flip(1).float()
        box = torch.cat([torch.zeros_like(sides), sides], dim=1)[:, None]
        return PaddedDetections.of(box.expand(-1, best.shape[1], -1), best, labels)

    def logits(self, pixels: Tensor) -> Tensor:
        """Return (B, K) logits of (B, 3, H, W) normalised images."""
        found: Tensor = self.tail(self.backbone(pixels)[-1])
        return found

    def map_modules(self) -> list[nn.Module]:
        """Return the modules that compute maps of whole images."""
        return [self.backbone]

    def _centres(self, images: ImageBatch) -> Tensor:
        """Return the (B, 3, S, S) centres of images, normalised."""
        cuts = [views(image, self.crop_px, "center", (1.0,)) for image in self._unpadded(images)]
        return torch.cat(cuts)

    def _unpadded(self, images: ImageBatch) -> list[Tensor]:
        """Return the (3, H, W) normalised pixels of each image."""
        each = zip(self.prepare(images), images.sizes, strict=True)
        return [image[:, :height, :width] for image, (height, width) in each]

    def _best(self, scores: Tensor, size: tuple[int, int]) -> Detections:
        best = torch.sort(scores, descending=True, stable=True)
        count = min(self.top, len(scores))
        box = scores.new_tensor((0.0, 0.0, float(size[1]), float(size[0])))
        return Detections(box.repeat(count, 1), best.values[:count], best.indices[:count])


def views(image: Tensor, side: int, crops: Crops, scales: tuple[float, ...]) -> Tensor:
    """Return the cuts of one image, at each scale one after another.

    Args:
        image: (C, H, W).
        side: height and width of a cut in pixels; what an image lacks at its end is 0.
        crops: `center`, or `ten` for the corners, the centre and the mirror images of these five.
        scales: factors of the image's size; it is resized bilinearly, averaged where it shrinks.

    Returns:
        (V, C, side, side); V is the number of scales times 1 or 10.

    Example:
        >>> views(torch.arange(16.0).view(1, 4, 4), 2, "center", (1.0,))
        tensor([[[[ 5.,  6.],
                  [ 9., 10.]]]])
        >>> views(torch.zeros(3, 30, 40), 16, "ten", (1.0, 0.75)).shape
        torch.Size([20, 3, 16, 16])
    """
    found = []
    for scale in scales:
        scaled = image if scale == 1 else _resized(image, scale)
        height, width = scaled.shape[1:]
        scaled = F.pad(scaled, (0, max(0, side - width), 0, max(0, side - height)))
        bottom, right = max(0, height - side), max(0, width - side)
        places = [(bottom // 2, right // 2)]
        if crops == "ten":
            places += [(0, 0), (0, right), (bottom, 0), (bottom, right)]
        cuts = torch.stack([scaled[:, top : top + side, left : left + side] for top, left in places])
        found.append(cuts if crops == "center" else torch.cat([cuts, cuts.flip(3)]))
    return torch.cat(found)


def views_padded(pixels: Tensor, sizes: Tensor, side: int, crops: Crops) -> Tensor:
    """Return the cuts of each of several images in their own size, for an exported graph; see `views`.

    Args:
        pixels: (B, C, H, W) images, 0 beyond each.
        sizes: (B, 2) height and width of each inside the padding.
        side: height and width of a cut in pixels.
        crops: see `views`.

    Returns:
        (B, V, C, side, side).

    Example:
        >>> views_padded(torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([[4, 4]]), 2, "center")
        tensor([[[[[ 5.,  6.],
                   [ 9., 10.]]]]])
    """
    rest = (sizes - side).clamp(min=0)
    nothing = torch.zeros_like(rest)
    corners = [rest // 2]
    if crops == "ten":
        right, bottom = rest * rest.new_tensor([0, 1]), rest * rest.new_tensor([1, 0])
        corners += [nothing, right, bottom, rest]
    first = torch.stack(corners, dim=1)[:, :, :, None] + torch.arange(side, device=pixels.device)
    table = F.pad(pixels, (0, side, 0, side)).permute(0, 2, 3, 1)
    image = torch.arange(pixels.shape[0], device=pixels.device)[:, None, None, None]
    cuts = table[image, first[:, :, 0, :, None], first[:, :, 1, None, :]].permute(0, 1, 4, 2, 3)
    return cuts if crops == "center" else torch.cat([cuts, cuts.flip(4)], dim=1)


def _resized(image: Tensor, scale: float) -> Tensor:
    size = [max(1, round(length * scale)) for length in image.shape[1:]]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
