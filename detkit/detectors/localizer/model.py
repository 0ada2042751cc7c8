"""A localizer, which says which object an image shows, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.detectors.localizer.coding import (
    decode_boxes,
    decode_boxes_each,
    decode_points,
    encode_boxes,
)
from detkit.detectors.localizer.heads import RegressionHead, Trunk
from detkit.detectors.localizer.keypoints import KeypointCascade
from detkit.models.image_input import ImageInput
from detkit.ops.boxes import area
from detkit.ops.losses import smooth_l1
from detkit.ops.padded import rows_at
from detkit.ops.sampling import mix_seed
from detkit.structures import (
    Detections,
    ImageBatch,
    PaddedBatch,
    PaddedDetections,
    RegionDecision,
    Target,
    TrainBatch,
)


class Localizer(ImageInput):
    """A classifier with a second head that says where the object is, and a third for its key points.

    Args:
        trunk: what the heads see, whose `tail` has the layer of the logits.
        boxes: the head of the box.
        keypoints: what finds key points; None finds none.
        size_px: side of the square that the network sees: the whole image, warped.
        class_agnostic: one box, and points, for all classes instead of those of each.
        beta: where smooth L1 goes over from a square to a line; None takes the squared distance.
        loss_weights: factors of the losses of boxes and of key points.
        top: how many classes are guessed for an image.

    Reference: Sermanet et al., OverFeat, ICLR 2014; Simonyan and Zisserman, ICLR 2015.
    """

    embeds_whole_images = True

    def __init__(
        self,
        trunk: Trunk,
        boxes: RegressionHead,
        keypoints: KeypointCascade | None = None,
        *,
        size_px: int,
        class_agnostic: bool,
        beta: float | None,
        loss_weights: tuple[float, float],
        top: int,
    ) -> None:
        super().__init__()
        self.trunk, self.boxes, self.keypoints = trunk, boxes, keypoints
        self.size_px, self.class_agnostic = size_px, class_agnostic
        self.beta, self.loss_weights, self.top = beta, loss_weights, top

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the losses `class`, a cross entropy, `box`, and `keypoints` of each stage.

        Of several objects in an image the largest is learned; an image without any teaches nothing.
        """
        pixels = self.prepare(batch.images)
        last, vector = self.trunk(self.squares(pixels, batch.images.sizes))
        logits, codes = self.trunk.tail.logits(vector).float(), self.boxes(last, vector)
        objects = _Objects.of(batch)
        if objects is None:
            return self._nothing(logits, codes)
        share = len(objects.rows) / len(batch)  # an image counts alike, whatever the others show
        own = self._of_class(codes[objects.rows], objects.labels)
        distance = self.distance(own, encode_boxes(objects.boxes, objects.sizes))
        losses = {
            "class": share * F.cross_entropy(logits[objects.rows], objects.labels),
            "box": share * self.loss_weights[0] * distance.sum(dim=1).mean(),
        }
        if self.keypoints is not None:
            points = self.keypoints.first(last[objects.rows], vector[objects.rows])
            found = _pairs(self._of_class(points, objects.labels))
            for stage, loss in enumerate(self._point_losses(found, pixels, objects, batch.seed), start=1):
                losses[f"keypoints{stage}"] = share * self.loss_weights[1] * loss
        return losses

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return the best classes of each image, best first, each with its box and key points."""
        pixels = self.prepare(images)
        last, vector = self.trunk(self.squares(pixels, images.sizes))
        scores = self.trunk.tail.logits(vector).float().softmax(dim=1)
        best = torch.sort(scores, dim=1, descending=True, stable=True)
        labels = best.indices[:, : self.top]
        all_codes = self.boxes(last, vector)
        all_points = None if self.keypoints is None else self.keypoints.first(last, vector)
        found = []
        for row, size in enumerate(images.originals):
            boxes = decode_boxes(self._of_guesses(all_codes[row], labels[row]), size)
            own = None if all_points is None else self._of_guesses(all_points[row], labels[row])
            points = None if own is None else self._points(own, boxes, pixels[row], images.sizes[row], size)
            found.append(Detections(boxes, best.values[row, : self.top], labels[row], keypoints=points))
        return found

    def decide(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        """Return what each image shows, and where; see `detkit.capabilities.DecidesOnRegions`."""
        last, vector = self.trunk(self.squares(self.prepare(images), images.sizes))
        logits, codes = self.trunk.tail.logits(vector).float(), self.boxes(last, vector)
        moved = [decode_boxes(own, size) for own, size in zip(codes, images.sizes, strict=True)]
        return RegionDecision(logits, logits.softmax(dim=1), torch.stack(moved))

    def embed(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return the vectors that the logits are made of; see `detkit.capabilities.EmbedsRegions`."""
        vectors: Tensor = self.trunk(self.squares(self.prepare(images), images.sizes))[1]
        return vectors

    def detect_padded(self, images: PaddedBatch) -> PaddedDetections:
        """Return what `detect` does; see `DetectsPadded`."""
        pixels = self.prepare_padded(images)
        last, vector = self.trunk(warped_whole(pixels, images.sizes, self.size_px))
        scores = self.trunk.tail.logits(vector).float().softmax(dim=1)
        best, labels = scores.topk(min(self.top, scores.shape[1]), dim=1)
        boxes = decode_boxes_each(self._of_each(self.boxes(last, vector), labels), images.originals)
        found = PaddedDetections.of(boxes, best, labels)
        if self.keypoints is None:
            return found
        codes = self._of_each(self.keypoints.first(last, vector), labels)
        return replace(found, keypoints=self._points_padded(codes, boxes, pixels, images))

    def _points_padded(self, codes: Tensor, boxes: Tensor, pixels: Tensor, images: PaddedBatch) -> Tensor:
        """Return the (B, N, P, 2) key points of the guesses of each image, in pixels of its file."""
        assert self.keypoints is not None
        number = 1 if self.class_agnostic else codes.shape[1]
        scale = (images.sizes / images.originals).flip(1)
        own = codes[:, :number].flatten(0, 1)
        points = decode_points(_pairs(own), images.sizes.repeat_interleave(number, 0))
        seen = boxes[:, :number] * scale.repeat(1, 2)[:, None]
        refined = self.keypoints.refine(pixels.repeat_interleave(number, 0), points, seen.flatten(0, 1))
        refined = torch.unflatten(refined, 0, (-1, number)) / scale[:, None, None]
        return refined.expand(-1, codes.shape[1], -1, -1)

    def _of_each(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return the (B, N, V) codes of N classes of each image of (B, sets, V)."""
        if self.class_agnostic:
            return codes[:, :1].expand(-1, labels.shape[1], -1)
        return rows_at(codes, labels)

    def squares(self, pixels: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Return the (B, 3, S, S) squares that the network sees of (B, 3, H, W) images, each warped whole.

        Args:
            pixels: normalised images.
            sizes: (height, width) in pixels of each inside the padding.
        """
        side = self.size_px, self.size_px
        if all(size == side for size in sizes):
            return pixels
        warped = [
            F.interpolate(image[None, :, :height, :width], side, mode="bilinear", antialias=True)
            for image, (height, width) in zip(pixels, sizes, strict=True)
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

    def _nothing(self, logits: Tensor, codes: Tensor) -> dict[str, Tensor]:
        losses = {"class": 0 * logits.sum(), "box": 0 * codes.sum()}
        if self.keypoints is not None:
            zero = 0 * torch.stack([value.sum() for value in self.keypoints.parameters()]).sum()
            losses |= {f"keypoints{stage}": zero for stage in range(1, len(self.keypoints.refiners) + 2)}
        return losses

    def _point_losses(self, found: Tensor, pixels: Tensor, objects: _Objects, seed: int) -> list[Tensor]:
        assert self.keypoints is not None
        points = objects.keypoints
        if points is None:
            points = F.pad(torch.zeros_like(found), (0, 1))
        seeds = [mix_seed(seed, image) for image in objects.images]
        own = pixels[objects.rows]
        return self.keypoints.losses(found, own, objects.sizes, points, objects.boxes, seeds, self.distance)

    def _points(
        self, codes: Tensor, boxes: Tensor, pixels: Tensor, size: tuple[int, int], original: tuple[int, int]
    ) -> Tensor:
        """Return the (N, P, 2) key points of the guesses of an image, in pixels of its file."""
        assert self.keypoints is not None
        scale = boxes.new_tensor((size[1] / original[1], size[0] / original[0]))
        number = 1 if self.class_agnostic else len(codes)  # they have one box and the same points
        points = decode_points(_pairs(codes[:number]), [size] * number)
        images = pixels.expand(number, -1, -1, -1)
        refined = self.keypoints.refine(images, points, boxes[:number] * scale.repeat(2))
        return (refined / scale).expand(len(codes), -1, -1).contiguous()

    def _of_class(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return the (N, V) codes of a class each of (N, sets, V)."""
        if self.class_agnostic:
            return codes[:, 0]
        return codes[torch.arange(len(labels), device=labels.device), labels]

    def _of_guesses(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return the (N, V) codes of N classes of one image of (sets, V)."""
        return self._of_class(codes.expand(len(labels), -1, -1), labels)


@dataclass(frozen=True)
class _Objects:
    """The objects that are learned of a batch: the largest of each image that has one."""

    rows: list[int]
    images: list[int]
    sizes: list[tuple[int, int]]
    labels: Tensor
    boxes: Tensor
    keypoints: Tensor | None

    @staticmethod
    def of(batch: TrainBatch) -> _Objects | None:
        places = [_largest(target) for target in batch.targets]
        rows = [row for row, place in enumerate(places) if place is not None]
        if not rows:
            return None
        chosen = [(batch.targets[row], places[row]) for row in rows]
        points = [target.keypoints[place] for target, place in chosen if target.keypoints is not None]
        return _Objects(
            rows,
            [target.image for target, _ in chosen],
            [batch.images.sizes[row] for row in rows],
            torch.stack([target.labels[place] for target, place in chosen]),
            torch.stack([target.boxes[place] for target, place in chosen]),
            torch.stack(points) if points else None,
        )


def warped_whole(pixels: Tensor, sizes: Tensor, side: int) -> Tensor:
    """Return the (B, C, side, side) squares that images are warped to, each of its own size.

    The same as `interpolate(mode="bilinear", antialias=True)`, as two products of matrices, whose sizes an
    exported graph need not know.

    Args:
        pixels: (B, C, H, W) images.
        sizes: (B, 2) height and width of each inside the padding.
        side: of the square in pixels.

    Example:
        >>> warped_whole(torch.arange(4.0).view(1, 1, 1, 4), torch.tensor([[1, 4]]), 2)
        tensor([[[[0.7143, 2.2857],
                  [0.7143, 2.2857]]]])
    """
    down, across = (_shares(sizes[:, axis], pixels.shape[2 + axis], side).to(pixels.dtype) for axis in (0, 1))
    return down[:, None] @ pixels @ across[:, None].transpose(2, 3)


def _shares(lengths: Tensor, room: int, side: int) -> Tensor:
    """Return (B, side, room): how much of each pixel of a line goes into each of those it is resized to."""
    scale = lengths[:, None, None] / side
    middle = (torch.arange(side, device=lengths.device)[:, None] + 0.5) * scale
    place = torch.arange(room, device=lengths.device) + 0.5
    shares = (1 - (place - middle).abs() / scale.clamp(min=1)).clamp(min=0)
    shares = shares * (place < lengths[:, None, None])
    return shares / shares.sum(dim=2, keepdim=True)


def _pairs(codes: Tensor) -> Tensor:
    """Return (N, P, 2) of (N, 2 P) codes."""
    return torch.unflatten(codes, 1, (-1, 2))


def _largest(target: Target) -> int | None:
    """Return the place of the largest object that is neither difficult nor a crowd; None without one."""
    places = torch.nonzero(~(target.crowd | target.difficult)).flatten()
    return int(places[area(target.boxes[places]).argmax()]) if len(places) else None
