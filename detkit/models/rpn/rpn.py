"""Region proposal network (Ren et al., Faster R-CNN, NIPS 2015): where to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.assignment import NormalizeBy, assign, leading, loss_weights
from detkit.models.rpn.rpn_head import RPNHead
from detkit.ops.anchors import AnchorGrid
from detkit.ops.boxes import clip, has_area, is_large, pairwise_iou
from detkit.ops.coding import BoxCoder
from detkit.ops.losses import smooth_l1
from detkit.ops.nms import grouped_nms
from detkit.ops.sampling import Sampler, mix_seed
from detkit.structures import Target

Over = Literal["image", "padding", "batch"]

SAMPLING_STAGE = 1  # tells this network's random choices from those of the stages behind it
CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
SAMPLER = Sampler(256, 0.5)


class Limits(NamedTuple):
    """How many proposals are kept before non-maximum suppression (of each map) and after (of each image)."""

    pre_nms: int
    post_nms: int


class DrawnAnchors(NamedTuple):
    """The anchors of one image that train: rows of positives and negatives, and the positives' objects."""

    positives: Tensor
    negatives: Tensor
    objects: Tensor


class BestAnchors(NamedTuple):
    """The n best anchors of an image, map by map.

    Attributes:
        boxes: (n, 4) moved, not clipped.
        logits: (n,) minus infinity for those that are none.
        levels: (n,) the map of each.
        anchors: (n,) its place among the map's anchors.
    """

    boxes: Tensor
    logits: Tensor
    levels: Tensor
    anchors: Tensor


TRAIN_LIMITS, TEST_LIMITS = Limits(12000, 2000), Limits(6000, 300)


@dataclass(frozen=True)
class RPNOutput:
    """What the head said about every anchor, map by map.

    Attributes:
        logits: for each map, (B, N) objectness.
        deltas: for each map, (B, N, 4) encoded boxes.
        anchors: for each map, (N, 4) reference boxes in pixels.
        inside: for each map, (B, N) bool: the anchor's cell lies in the image, not in its padding.
        maps: where logits and deltas carry no gradient, the maps from which the losses get it.
    """

    logits: list[Tensor]
    deltas: list[Tensor]
    anchors: list[Tensor]
    inside: list[Tensor]
    maps: Sequence[Tensor] | None = None


class RPN(nn.Module):
    """Scores anchors on every map and turns the best into proposals.

    The defaults are the paper's, for one map; those of `detkit.models.rpn.config.RPNConfig`.

    Args:
        head: gives (logits, deltas) of a map.
        grid: lays the anchors on the maps.
        strides: pixels per cell of each map, finest first.
        border_px: anchors that reach farther outside the image do not train; None lets all train.
        fg_iou: an anchor is positive from this IoU on, and the best ones of each object at any.
        bg_iou: an anchor is negative below this IoU.
        crowd_iou: anchors that lie in a crowd by more than this share are not negative.
        sampler: draws the anchors that train.
        beta: where smooth L1 becomes a line.
        box_loss_weight: weight of the box loss.
        normalize_by: see `loss_weights`.
        train_limits: how many proposals train what comes behind.
        test_limits: how many proposals are made otherwise.
        score_threshold: proposals of a lower objectness are dropped.
        nms_iou: proposals of a map that overlap a better one by more are dropped.
        min_size_px: proposals with a shorter side are dropped before the best are counted, and those without
            area always.
        over: whether anchors lie on the cells of each image, on those of its "padding", too, or spread over
            the padded "batch", as torchvision's do.
    """

    def __init__(
        self,
        head: RPNHead,
        grid: AnchorGrid,
        strides: Sequence[int],
        *,
        border_px: float | None = 0.0,
        fg_iou: float = 0.7,
        bg_iou: float = 0.3,
        crowd_iou: float = 0.7,
        sampler: Sampler = SAMPLER,
        beta: float = 1 / 9,
        box_loss_weight: float = 1.0,
        normalize_by: NormalizeBy = "sampled",
        train_limits: Limits = TRAIN_LIMITS,
        test_limits: Limits = TEST_LIMITS,
        score_threshold: float = 0.0,
        nms_iou: float = 0.7,
        min_size_px: float = 16.0,
        over: Over = "image",
    ) -> None:
        super().__init__()
        self.head, self.grid, self.strides = head, grid, tuple(strides)
        self.border_px, self.fg_iou, self.bg_iou, self.crowd_iou = border_px, fg_iou, bg_iou, crowd_iou
        self.sampler, self.beta, self.box_loss_weight = sampler, beta, box_loss_weight
        self.normalize_by = normalize_by
        self.train_limits, self.test_limits = train_limits, test_limits
        self.score_threshold, self.nms_iou = score_threshold, nms_iou
        self.min_size_px, self.over = min_size_px, over

    def forward(self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]] | Tensor) -> RPNOutput:
        """Return what the head says about the anchors.

        Args:
            maps: (B, C, H, W) feature maps, one for each stride.
            sizes: (height, width) in pixels of each image inside the padding, perhaps as a (B, 2) tensor.
        """
        # Proposals need no gradient, and the losses are of a few anchors only.
        few = torch.is_grad_enabled() and self.head.sees_one_window
        with torch.set_grad_enabled(torch.is_grad_enabled() and not few):
            said = [self.head(features) for features in maps]
        device = maps[0].device
        shapes = [(features.shape[-2], features.shape[-1]) for features in maps]
        cells = _spread(shapes, self.strides[0]) if self.over == "batch" else self.strides
        anchors = self.grid(shapes, cells, device)
        inside = [torch.ones_like(logits, dtype=torch.bool) for logits, _ in said]
        if self.over == "image":
            limits = torch.as_tensor(sizes).to(device, non_blocking=True)
            inside = [
                _cells_inside(shape, stride, limits).repeat_interleave(num, dim=1)
                for shape, stride, num in zip(shapes, self.strides, self.grid.num_per_cell, strict=True)
            ]
        logits, deltas = [each for each, _ in said], [each for _, each in said]
        return RPNOutput(logits, deltas, anchors, inside, maps if few else None)

    def losses(
        self, output: RPNOutput, targets: Sequence[Target], sizes: Sequence[tuple[int, int]], seed: int
    ) -> tuple[Tensor, Tensor]:
        """Return the objectness loss and the weighted box loss.

        Args:
            output: from `forward`.
            targets: the objects of each image.
            sizes: (height, width) in pixels of each image inside the padding.
            seed: seeds the choice of anchors, with each target's image index.
        """
        anchors = torch.cat(output.anchors)
        choices = self.sample(output, targets, sizes, seed)
        drawn = [torch.cat([choice.positives, choice.negatives]) for choice in choices]
        encoded = [
            CODER.encode(target.boxes[choice.objects], anchors[choice.positives])
            for target, choice in zip(targets, choices, strict=True)
        ]
        counts, positives = [len(own) for own in drawn], [len(own) for own in encoded]
        weights = loss_weights(counts, self.normalize_by, self.sampler.num, anchors.device)
        objects = leading(torch.arange(sum(counts), device=anchors.device), counts, positives)
        is_object = torch.zeros_like(weights).index_fill(0, objects, 1.0)
        image = torch.cat([torch.full_like(own, number) for number, own in enumerate(drawn)])
        logits, deltas = self._said_about(output, image, torch.cat(drawn))
        objectness = F.binary_cross_entropy_with_logits(logits, is_object, weight=weights, reduction="sum")
        wrong_by = smooth_l1(deltas[objects], torch.cat(encoded), self.beta).sum(1)
        return objectness, self.box_loss_weight * (wrong_by * weights[objects]).sum()

    def _said_about(self, output: RPNOutput, image: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N,) logits and (N, 4) deltas of some anchors, with gradient."""
        if output.maps is not None:
            return self.head.say_about(output.maps, image, anchor)
        return torch.cat(output.logits, 1)[image, anchor], torch.cat(output.deltas, 1)[image, anchor]

    @torch.no_grad()
    def sample(
        self, output: RPNOutput, targets: Sequence[Target], sizes: Sequence[tuple[int, int]], seed: int
    ) -> list[DrawnAnchors]:
        """Return the anchors that train, image by image; see `losses`."""
        anchors, inside = torch.cat(output.anchors), torch.cat(output.inside, 1)
        within = inside & torch.stack([self._within_border(anchors, size) for size in sizes])
        counts = within.sum(dim=1).tolist()
        usable = torch.split(torch.nonzero(within)[:, 1], counts)
        matches = [self._assign(anchors[own], target) for own, target in zip(usable, targets, strict=True)]
        seeds = [mix_seed(seed, target.image, SAMPLING_STAGE) for target in targets]
        return [
            DrawnAnchors(rows[fg], rows[bg], own[fg])
            for rows, own, (fg, bg) in zip(
                usable, matches, self.sampler.sample_all(matches, seeds), strict=True
            )
        ]

    def objectness(
        self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], boxes: Sequence[Tensor]
    ) -> Tensor:
        """Return for each image the logit of the anchor that overlaps its (1, 4) box most, with gradient."""
        output = self(maps, sizes)
        anchors, inside = torch.cat(output.anchors), torch.cat(output.inside, 1)
        best = [
            (pairwise_iou(anchors, box)[:, 0] * own).argmax() for box, own in zip(boxes, inside, strict=True)
        ]
        image = torch.arange(len(best), device=anchors.device)
        return self._said_about(output, image, torch.stack(best))[0]

    @property
    def anchors_per_image(self) -> int:
        """How many anchors are sampled of an image at most."""
        return self.sampler.num

    def positive_anchors(
        self, output: RPNOutput, targets: Sequence[Target], sizes: Sequence[tuple[int, int]], seed: int
    ) -> list[Tensor]:
        """Return for each image the (A, 4) sampled anchors that train for an object; see `sample`."""
        anchors = torch.cat(output.anchors)
        return [anchors[choice.positives] for choice in self.sample(output, targets, sizes, seed)]

    @torch.no_grad()
    def propose(self, output: RPNOutput, sizes: Sequence[tuple[int, int]], limits: Limits) -> list[Tensor]:
        """Return for each image the (P, 4) best boxes in pixels, best first, without gradient.

        Args:
            output: from `forward`.
            sizes: (height, width) in pixels of each image inside the padding.
            limits: `train_limits` or `test_limits`.
        """
        best = self.best_of_maps(output, sizes, limits.pre_nms)
        return [
            clip(own.boxes[self.kept(own, size, limits.post_nms)], size)
            for own, size in zip(best, sizes, strict=True)
        ]

    def best_of_maps(
        self, output: RPNOutput, sizes: Sequence[tuple[int, int]], pre_nms: int
    ) -> list[BestAnchors]:
        """Return for each image the best of each map, moved but not clipped."""
        scores, boxes, levels, rows = [], [], [], []
        for level, (logits, deltas, anchors, inside) in enumerate(
            zip(output.logits, output.deltas, output.anchors, output.inside, strict=True)
        ):
            allowed = inside
            if self.min_size_px > 0:  # the released code counts the best of what is large
                allowed = inside & self._are_large(deltas, anchors, sizes)
            hidden = logits.masked_fill(~allowed, float("-inf"))
            best, index = hidden.topk(min(pre_nms, len(anchors)), dim=1)
            chosen = deltas.gather(1, index[:, :, None].expand(-1, -1, 4))
            boxes.append(CODER.decode(chosen.flatten(0, 1), anchors[index.flatten()]).view_as(chosen))
            scores.append(best)
            levels.append(torch.full_like(index[0], level))
            rows.append(index)
        owners = torch.cat(levels)
        each = zip(torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(rows, 1), strict=True)
        return [BestAnchors(own, score, owners, index) for own, score, index in each]

    @torch.no_grad()
    def candidate_anchors(self, target: Target, size: tuple[int, int]) -> tuple[Tensor, int]:
        """Return the (A, 4) anchors that may train for an image, and how many of those sampled are positive.

        Args:
            target: the image's objects.
            size: (height, width) of the image in pixels.
        """
        shapes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in self.strides]
        anchors = self.grid(shapes, self.strides, torch.device("cpu"))
        inside = [torch.ones(1, len(level), dtype=torch.bool) for level in anchors]
        drawn = self.sample(RPNOutput([], [], anchors, inside), [target], [size], seed=0)[0]
        every = torch.cat(anchors)
        return every[self._within_border(every, size)], len(drawn.positives)

    def _are_large(self, deltas: Tensor, anchors: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Return (B, N) bool: the box that (B, N, 4) deltas make of an anchor is large inside its image."""
        boxes = CODER.decode(deltas.transpose(0, 1), anchors).unbind(1)
        clipped = [clip(own, size) for own, size in zip(boxes, sizes, strict=True)]
        return torch.stack([is_large(own, self.min_size_px) for own in clipped])

    def kept(self, best: BestAnchors, size: tuple[int, int], num: int | None) -> Tensor:
        """Return the places of those that are proposed, best first."""
        boxes = clip(best.boxes, size)
        likely = torch.isfinite(best.logits) & self.are_likely(best.logits)
        there = torch.nonzero(has_area(boxes) & likely).squeeze(1)
        boxes, scores, levels = boxes[there], best.logits[there], best.levels[there]
        return there[grouped_nms(boxes, scores, levels, self.nms_iou, num)]

    def are_likely(self, logits: Tensor) -> Tensor:
        """Tell which logits are those of boxes whose objectness is not too low."""
        return logits.sigmoid() >= self.score_threshold

    def _within_border(self, anchors: Tensor, size: tuple[int, int]) -> Tensor:
        if self.border_px is None:
            return torch.ones(len(anchors), dtype=torch.bool, device=anchors.device)
        height, width = size
        x1, y1, x2, y2 = anchors.unbind(1)
        border = self.border_px
        return (x1 >= -border) & (y1 >= -border) & (x2 <= width + border) & (y2 <= height + border)

    def _assign(self, anchors: Tensor, target: Target) -> Tensor:
        return assign(
            anchors,
            target,
            fg_iou=self.fg_iou,
            bg_iou=(0.0, self.bg_iou),
            force=True,
            crowd_iou=self.crowd_iou,
        )


def _spread(shapes: Sequence[tuple[int, int]], finest: int) -> list[tuple[int, int]]:
    """Return the sides of a map's cells in pixels, (vertical, horizontal), when they share the padded batch.

    Args:
        shapes: (height, width) in cells of each map, finest first.
        finest: side of the finest map's cells, which cover the batch.
    """
    height, width = (finest * cells for cells in shapes[0])
    return [(height // rows, width // columns) for rows, columns in shapes]


def _cells_inside(shape: tuple[int, int], stride: int, limits: Tensor) -> Tensor:
    """Return (B, height * width) bool: the cell begins inside the image, not in its padding."""
    rows = torch.arange(shape[0], device=limits.device) * stride < limits[:, :1]
    columns = torch.arange(shape[1], device=limits.device) * stride < limits[:, 1:]
    return (rows[:, :, None] & columns[:, None, :]).flatten(1)
