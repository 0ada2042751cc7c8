"""OverFeat (Sermanet, Eigen, Zhang, Mathieu, Fergus and LeCun, ICLR 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.detectors.overfeat.merging import merge_boxes
from detkit.detectors.overfeat.training import SampledWindows, WindowTraining
from detkit.detectors.overfeat.windows import OffsetPool, WindowLayers
from detkit.models.image_input import ImageInput, in_file_pixels
from detkit.models.map_pyramid import MapPyramid, Size
from detkit.models.traced_windows import nearest_rows, trace_merged
from detkit.ops.boxes import clip, has_area
from detkit.ops.sampling import mix_seed
from detkit.structures import Detections, ImageBatch, Target, Trace, TrainBatch

_AT_ONCE = 512  # windows whose boxes are computed together: their pooled cells are copied


@dataclass(frozen=True)
class Merging:
    """Which windows have boxes, and which of these become one.

    Attributes:
        score_threshold: windows below have none.
        per_class: at most so many windows of a class have, the best.
        below: two boxes of a class are merged up to this match score.
        per_image: at most so many merged boxes are reported, the best.
    """

    score_threshold: float = 0.05
    per_class: int = 300
    below: float = 0.5
    per_image: int = 100


class OverFeat(ImageInput):
    """A classifier and a network of boxes at every window of an image in several sizes.

    The windows of an image are those of all sizes one after another, each row by row.

    Args:
        pyramid: a network's last map of each size.
        pool: its last pooling, and where windows are.
        classifier: K + 1 logits of a window, the last for background.
        regressor: 4 outputs, or 4 for each class: how far the edges of the box lie from the window's, in its
            sides.
        training: chooses the windows that train.
        merging: makes detections of windows.
    """

    def __init__(
        self,
        pyramid: MapPyramid,
        pool: OffsetPool,
        classifier: WindowLayers,
        regressor: WindowLayers,
        *,
        training: WindowTraining | None = None,
        merging: Merging | None = None,
    ) -> None:
        super().__init__()
        self.pyramid, self.pool = pyramid, pool
        self.classifier, self.regressor = classifier, regressor
        self.training_windows, self.merging = training or WindowTraining(), merging or Merging()

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the cross entropy of the windows as `class`, and the weighted squared error of `box`."""
        pooled, losses = self.pooled_maps(batch.images), []
        sampled = self._sample(pooled, batch)
        for number, (target, own) in enumerate(zip(batch.targets, sampled, strict=True)):
            size = batch.images.sizes[number]
            cut = self._cut(pooled, number, size, torch.cat([own.positives, own.negatives]))
            losses.append((self._class_loss(cut, target, own), self._box_loss(cut, target, own, size)))
        of_classes, of_boxes = (torch.stack(each).mean() for each in zip(*losses, strict=True))
        return {"class": of_classes, "box": self.training_windows.box_loss_weight * of_boxes}

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file.

        A score s comes of windows that add up to s / (1 - s): one sure window is 0.5.
        """
        pooled = self.pooled_maps(images)
        logits = self.logits(pooled)
        found = []
        for number, size in enumerate(images.sizes):
            scores = self._of_image(logits, number, size).softmax(1)[:, :-1]
            found.append(self._detections(pooled, number, size, scores))
        return in_file_pixels(found, images)

    def pooled_maps(self, images: ImageBatch) -> list[Tensor]:
        """Return for each size of the images the (B, C, h, w) maxima of the network's last map."""
        each = zip(self.prepare(images), images.sizes, strict=True)
        maps = self.pyramid([pixels[:, :height, :width] for pixels, (height, width) in each])
        return [self.pool(level) for level in maps]

    def logits(self, pooled: Sequence[Tensor]) -> list[Tensor]:
        """Return for each size the (B, H, W, K + 1) logits of all windows."""
        return [self.classifier.everywhere(level, self.pool.dilation) for level in pooled]

    def windows(self, size: Size) -> Tensor:
        """Return the (T, 4) windows of an image of (height, width) pixels, which may reach over it."""
        boxes, shift = [], self.pyramid.cell_offset - 0.5
        levels = zip(self._places(size), self.pyramid.cell_px(size), strict=True)
        for (rows, columns), (height_px, width_px) in levels:
            first = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(-1, 2).flip(1)
            first = self.pool.step * first + shift
            own = torch.cat([first, first + self.pool.span], dim=1)
            boxes.append(own * torch.tensor([width_px, height_px] * 2))
        return torch.cat(boxes).to(self.mean.device)

    @torch.no_grad()
    def training_boxes(self, batch: TrainBatch) -> list[tuple[Tensor, Tensor]]:
        """Return for each image the (A, 4) windows that train for an object, and no regions."""
        sampled = self._sample(self.pooled_maps(batch.images), batch)
        return [
            (self._within(size)[own.positives], self.mean.new_zeros((0, 4)))
            for size, own in zip(batch.images.sizes, sampled, strict=True)
        ]

    @property
    def candidates(self) -> Literal["anchors"]:
        """Windows are matched to objects as anchors are."""
        return "anchors"

    @property
    def candidates_per_image(self) -> int:
        """How many windows of an image train."""
        return self.training_windows.per_image

    @property
    def finest_stride(self) -> int:
        """Pixels from one window to the next in the largest size."""
        return max(1, round(self.pool.step * self.pyramid.stride / max(self.pyramid.factors)))

    def candidate_boxes(self, target: Target, size: Size, proposals: Tensor | None) -> tuple[Tensor, int]:
        """Return the (T, 4) windows of an image, cut at it, and how many that train show an object."""
        windows = self._within(size)
        return windows, len(self.training_windows.sample(windows, target, 0, None).positives)

    def map_modules(self) -> list[nn.Module]:
        """Return the modules that compute maps of whole images."""
        return [self.pyramid.backbone]

    def _places(self, size: Size) -> list[Size]:
        """Return for each size of an image rows and columns of its windows."""
        return [self.pool.places(cells) for cells in self.pyramid.cells(size)]

    def _within(self, size: Size) -> Tensor:
        return clip(self.windows(size), size)

    def _of_image(self, maps: Sequence[Tensor], number: int, size: Size) -> Tensor:
        """Return the (T, N) values of an image's windows of (B, H, W, N) maps."""
        each = zip(maps, self._places(size), strict=True)
        return torch.cat([level[number, :rows, :columns].flatten(0, 1) for level, (rows, columns) in each])

    def _cut(self, pooled: Sequence[Tensor], number: int, size: Size, which: Tensor) -> Tensor:
        """Return the (N, C, cells, cells) pooled cells of (N,) windows of an image."""
        cut, rows, first = [], [], 0
        for level, (height, width) in zip(pooled, self._places(size), strict=True):
            own = torch.nonzero((which >= first) & (which < first + height * width)).flatten()
            at = which[own] - first
            cut.append(self.pool.cut(level[number], at // width, at % width))
            rows.append(own)
            first += height * width
        return torch.cat(cut)[torch.cat(rows).argsort()]

    @torch.no_grad()
    def _sample(self, pooled: Sequence[Tensor], batch: TrainBatch) -> list[SampledWindows]:
        logits = self.logits(pooled) if self.training_windows.negatives == "hardest" else None
        sampled = []
        for number, (target, size) in enumerate(zip(batch.targets, batch.images.sizes, strict=True)):
            like = None if logits is None else 1 - self._of_image(logits, number, size).softmax(1)[:, -1]
            seed = mix_seed(batch.seed, target.image)
            sampled.append(self.training_windows.sample(self._within(size), target, seed, like))
        return sampled

    def _class_loss(self, cut: Tensor, target: Target, own: SampledWindows) -> Tensor:
        logits = self.classifier(cut)
        background = own.negatives.new_full((len(own.negatives),), logits.shape[1] - 1)
        labels = torch.cat([target.labels[own.objects], background])
        return F.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))

    def _box_loss(self, cut: Tensor, target: Target, own: SampledWindows, size: Size) -> Tensor:
        """Return the mean over the windows that show their object of the squared error of the four edges."""
        windows, boxes = self.windows(size)[own.positives], target.boxes[own.objects]
        rows = torch.nonzero(self.training_windows.shows_its_object(windows, boxes)).flatten()
        shown = cut[rows] if self.training_windows.boxes_train_backbone else cut[rows].detach()
        edges = self._edges_of(self.regressor(shown), target.labels[own.objects[rows]])
        wanted = (boxes[rows] - windows[rows]) / _sides(windows[rows])
        return (edges - wanted).square().sum() / max(1, len(rows))

    def _edges_of(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the (N, 4) edges for (N,) classes."""
        edges = outputs.view(len(labels), outputs.shape[1] // 4, 4)
        own = labels if edges.shape[1] > 1 else torch.zeros_like(labels)
        return edges[torch.arange(len(labels), device=labels.device), own]

    def _detections(self, pooled: Sequence[Tensor], number: int, size: Size, scores: Tensor) -> Detections:
        """Return the merged boxes of an image, best first; scores are (T, K)."""
        best, ranked = scores.topk(min(self.merging.per_class, len(scores)), dim=0)
        rank, labels = torch.nonzero(best >= self.merging.score_threshold, as_tuple=True)
        found = self._moved(pooled, number, size, scores, ranked[rank, labels], labels)
        return self._merged(found.at(has_area(found.boxes))).at(slice(self.merging.per_image))

    def _moved(
        self, pooled: Sequence[Tensor], number: int, size: Size, scores: Tensor, rows: Tensor, labels: Tensor
    ) -> Detections:
        """Return (N,) windows of an image with the boxes that they have for (N,) classes."""
        which, chosen = torch.unique(rows, return_inverse=True)
        if not len(which):
            return Detections.empty(scores.device)
        outputs = torch.cat(
            [self.regressor(self._cut(pooled, number, size, o)) for o in which.split(_AT_ONCE)]
        )
        windows = self.windows(size)[rows]
        boxes = clip(windows + _sides(windows) * self._edges_of(outputs[chosen], labels), size)
        return Detections(boxes, scores[rows, labels], labels)

    @torch.no_grad()
    def trace(self, images: ImageBatch, objects: Sequence[Target]) -> list[Trace]:
        """Return what became of each image's windows; see `detkit.capabilities.TracesCandidates`."""
        pooled = self.pooled_maps(images)
        logits = self.logits(pooled)
        found = []
        for number, (size, target) in enumerate(zip(images.sizes, objects, strict=True)):
            scores = self._of_image(logits, number, size).softmax(1)[:, :-1]
            ranks = scores.argsort(dim=0, descending=True, stable=True).argsort(dim=0)
            compared = (scores >= self.merging.score_threshold) & (ranks < self.merging.per_class)
            near = torch.zeros_like(compared)
            near[nearest_rows(self._within(size), target.boxes)] = True
            rows, labels = torch.nonzero(compared | near, as_tuple=True)
            windows = self._moved(pooled, number, size, scores, rows, labels)
            passed = compared[rows, labels] & has_area(windows.boxes)
            merged, limit = self._merged(windows.at(passed)), self.merging.per_image
            found.append(trace_merged(windows, self.windows(size)[rows], passed, merged, limit))
        return found

    def _merged(self, found: Detections) -> Detections:
        """Return the merged boxes of each class, best first."""
        parts = []
        for label in sorted(set(found.labels.tolist())):
            own = found.at(found.labels == label).to("cpu")
            boxes, sums = merge_boxes(own.boxes.numpy(), own.scores.numpy(), self.merging.below)
            confidence = torch.from_numpy(sums / (1 + sums)).float()
            labels = torch.full((len(sums),), label, dtype=torch.int64)
            parts.append(Detections(torch.from_numpy(boxes).float(), confidence, labels))
        if not parts:
            return found
        each = zip(*((part.boxes, part.scores, part.labels) for part in parts), strict=True)
        merged = Detections(*map(torch.cat, each)).to(found.boxes.device)
        return merged.at(torch.sort(merged.scores, descending=True, stable=True).indices)


def _sides(windows: Tensor) -> Tensor:
    """Return the (N, 4) width and height of windows, for the edges of each."""
    return (windows[:, 2:] - windows[:, :2]).repeat(1, 2)
