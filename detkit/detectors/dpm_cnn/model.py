"""A deformable part model as a network (Girshick, Iandola, Darrell and Malik, CVPR 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from detkit.detectors.dpm_cnn.latent import LatentSVM, Overlaps
from detkit.detectors.dpm_cnn.pyramid import DeepPyramid
from detkit.detectors.dpm_cnn.stars import Placements, Stars
from detkit.models.image_input import ImageInput, in_file_pixels
from detkit.models.map_pyramid import Size
from detkit.models.roi.selection import CODER
from detkit.models.traced_windows import nearest_rows, trace_suppressed
from detkit.ops.boxes import clip, has_area
from detkit.ops.losses import smooth_l1
from detkit.ops.nms import grouped_nms
from detkit.structures import Detections, ImageBatch, Target, Trace, TrainBatch

Found = list[list[Placements]]
"""Of each level of the pyramid what each component gives."""


@dataclass(frozen=True)
class PlacementSelection:
    """Which placements are reported.

    Attributes:
        margin_threshold: those below are not.
        nms_iou: of two boxes of a class that overlap more, the worse is dropped.
        per_image: at most so many are reported, the best.
    """

    margin_threshold: float = -1.5
    nms_iou: float = 0.3
    per_image: int = 100


@dataclass(frozen=True)
class BoxTraining:
    """Which roots learn to move their box.

    Attributes:
        iou: those from this IoU with an object on.
        weight: of their loss.
    """

    iou: float = 0.5
    weight: float = 1.0


class DPMCNN(ImageInput):
    """Star models on a pyramid of deep features: a mixture for each class, whose best component counts.

    A place is a cell of a level of the pyramid. Windows are the boxes of the roots: of each place one for
    each component, side by side.

    Args:
        pyramid: the features of an image.
        components: star models of one shape each, for all classes.
        latent: chooses the placements that train.
        boxes: how boxes are trained, where the components move them.
        selection: chooses what is reported.
    """

    def __init__(
        self,
        pyramid: DeepPyramid,
        components: Sequence[Stars],
        *,
        latent: LatentSVM | None = None,
        boxes: BoxTraining | None = None,
        selection: PlacementSelection | None = None,
    ) -> None:
        super().__init__()
        self.pyramid, self.components = pyramid, nn.ModuleList(components)
        self.latent, self.boxes = latent or LatentSVM(), boxes or BoxTraining()
        self.chosen = selection or PlacementSelection()

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the hinge loss of the placements, and the weighted loss of boxes where they are moved."""
        found = self.placements(batch.images)
        hinge, box = list[Tensor](), list[Tensor]()
        for number, (target, size) in enumerate(zip(batch.targets, batch.images.sizes, strict=True)):
            windows = self.windows(size).flatten(0, 1)
            overlaps = Overlaps.of(clip(windows, size), target)
            margins = self._margins(found, number, size).flatten(1)
            hinge.append(self.latent.loss(margins, overlaps, len(self.components)))
            if (deltas := self._deltas(found, number, size)) is not None:
                box.append(self._box_loss(deltas.flatten(0, 1), windows, overlaps))
        losses = {"hinge": torch.stack(hinge).mean()}
        return losses | ({"box": self.boxes.weight * torch.stack(box).mean()} if box else {})

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file."""
        found = self.placements(images)
        return in_file_pixels(
            [self._detections(found, number, size) for number, size in enumerate(images.sizes)], images
        )

    def placements(self, images: ImageBatch) -> Found:
        """Return what each component gives at each level of the pyramid of images."""
        each = zip(self.prepare(images), images.sizes, strict=True)
        maps = self.pyramid([pixels[:, :height, :width] for pixels, (height, width) in each])
        return [[component(level) for component in self.components] for level in maps]

    def windows(self, size: Size) -> Tensor:
        """Return the (T, M, 4) windows of the M components at the T places of an image, in its pixels.

        They may reach over it.

        Args:
            size: (height, width) of the image in pixels.
        """
        boxes, shift = [], self.pyramid.cell_offset - 0.5
        levels = zip(self.pyramid.cells(size), self.pyramid.cell_px(size), strict=True)
        for (rows, columns), (height_px, width_px) in levels:
            y, x = (
                each.flatten()
                for each in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            )
            own = torch.stack([cast(Stars, component).boxes(y, x) for component in self.components], dim=1)
            boxes.append((own + shift) * torch.tensor([width_px, height_px] * 2))
        return torch.cat(boxes).to(self.mean.device)

    @torch.no_grad()
    def training_boxes(self, batch: TrainBatch) -> list[tuple[Tensor, Tensor]]:
        """Return for each image the (A, 4) windows that stand for objects now, and no regions."""
        found = self.placements(batch.images)
        boxes = []
        for number, (target, size) in enumerate(zip(batch.targets, batch.images.sizes, strict=True)):
            windows = clip(self.windows(size).flatten(0, 1), size)
            margins = self._margins(found, number, size).flatten(1)
            _, chosen = self.latent.positives(margins, Overlaps.of(windows, target))
            boxes.append((windows[chosen], windows.new_zeros((0, 4))))
        return boxes

    @property
    def candidates(self) -> Literal["anchors"]:
        """Windows are matched to objects as anchors are."""
        return "anchors"

    @property
    def candidates_per_image(self) -> int:
        """One: an object has one window, and only negatives that err train, so that they cannot drown it."""
        return 1

    @property
    def finest_stride(self) -> int:
        """Pixels per cell of the finest level."""
        return self.pyramid.stride

    def candidate_boxes(
        self, target: Target, size: tuple[int, int], proposals: Tensor | None
    ) -> tuple[Tensor, int]:
        """Return the (T * M, 4) windows of an image, cut at it, and how many stand for an object."""
        windows = clip(self.windows(size).flatten(0, 1), size)
        overlaps = Overlaps.of(windows, target)
        nothing = windows.new_zeros((len(cast(Stars, self.components[0]).root.weight), len(windows)))
        return windows, len(self.latent.positives(nothing, overlaps)[0])

    def map_modules(self) -> list[nn.Module]:
        """Return the modules that compute maps of whole images."""
        return [self.pyramid.backbone]

    def _margins(self, found: Found, number: int, size: Size) -> Tensor:
        """Return the (K, T, M) margins of an image."""
        return self._together([[own.margins[number] for own in level] for level in found], size)

    def _deltas(self, found: Found, number: int, size: Size) -> Tensor | None:
        """Return the (T, M, 4) deltas of an image; None where boxes are not moved."""
        each = [[own.deltas[number] for own in level if own.deltas is not None] for level in found]
        return self._together(each, size).movedim(0, -1) if each[0] else None

    def _together(self, maps: Sequence[Sequence[Tensor]], size: Size) -> Tensor:
        """Return (N, T, M) values of (N, H, W) maps of each component at each level."""
        levels = [
            torch.stack([own[:, :rows, :columns] for own in level], dim=-1).flatten(1, 2)
            for level, (rows, columns) in zip(maps, self.pyramid.cells(size), strict=True)
        ]
        return torch.cat(levels, dim=1)

    def _box_loss(self, deltas: Tensor, windows: Tensor, overlaps: Overlaps) -> Tensor:
        """Return the mean loss of an image's (R, 4) deltas at the windows that lie on an object."""
        ious = overlaps.ious * overlaps.wanted
        best, objects = ious.max(1) if ious.shape[1] else (ious.new_zeros(len(ious)), None)
        rows = torch.nonzero((best >= self.boxes.iou) & (best > 0)).flatten()
        boxes = windows[rows] if objects is None else overlaps.target.boxes[objects[rows]]
        wrong_by = smooth_l1(deltas[rows], CODER.encode(boxes, windows[rows]), 1.0).sum()
        return wrong_by / max(1, len(rows))

    def _detections(self, found: Found, number: int, size: Size) -> Detections:
        margins, components = self._margins(found, number, size).max(dim=2)
        labels, places = torch.nonzero(margins >= self.chosen.margin_threshold, as_tuple=True)
        own = components[labels, places]
        every, _ = self._boxes(found, number, size, places, own)
        kept = self._kept(every, margins[labels, places], labels, self.chosen.per_image)
        return self._placed(found, number, size, margins, (labels[kept], places[kept], own[kept]))

    def _kept(self, boxes: Tensor, margins: Tensor, labels: Tensor, limit: int | None) -> Tensor:
        """Return which of (N, 4) boxes are reported, best first."""
        rows = torch.nonzero(has_area(boxes)).flatten()
        return rows[grouped_nms(boxes[rows], margins[rows], labels[rows], self.chosen.nms_iou, limit)]

    def _boxes(
        self, found: Found, number: int, size: Size, places: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the (N, 4) boxes of objects at (N,) places with (N,) components, and their windows."""
        windows = self.windows(size)[places, own]
        deltas = self._deltas(found, number, size)
        boxes = windows if deltas is None else CODER.decode(deltas[places, own], windows)
        return clip(boxes, size), windows

    def _placed(
        self, found: Found, number: int, size: Size, margins: Tensor, which: tuple[Tensor, Tensor, Tensor]
    ) -> Detections:
        """Return placements as detections; `which` are their classes, places and components."""
        labels, places, own = which
        confidence = margins[labels, places]
        boxes, _ = self._boxes(found, number, size, places, own)
        result = Detections(boxes, confidence.sigmoid(), labels, confidence)
        if cast(Stars, self.components[0]).num_parts == 0:
            return result
        return replace(result, parts=self._parts(found, number, size, which))

    @torch.no_grad()
    def trace(self, images: ImageBatch, objects: Sequence[Target]) -> list[Trace]:
        """Return what became of each image's placements; see `detkit.capabilities.TracesCandidates`."""
        found = self.placements(images)
        each = enumerate(zip(images.sizes, objects, strict=True))
        return [self._trace(found, number, size, target) for number, (size, target) in each]

    def _trace(self, found: Found, number: int, size: Size, target: Target) -> Trace:
        margins, components = self._margins(found, number, size).max(dim=2)
        places = torch.arange(margins.shape[1], device=margins.device)
        chosen = margins >= self.chosen.margin_threshold
        for label, own in enumerate(components):
            boxes, _ = self._boxes(found, number, size, places, own)
            chosen[label, nearest_rows(boxes, target.boxes)] = True
        labels, places = torch.nonzero(chosen, as_tuple=True)
        which = labels, places, components[labels, places]
        placed = self._placed(found, number, size, margins, which)
        _, windows = self._boxes(found, number, size, places, which[2])
        confidence = margins[labels, places]
        compared = (confidence >= self.chosen.margin_threshold) & has_area(placed.boxes)
        rows = torch.nonzero(compared).flatten()
        kept = rows[self._kept(placed.boxes[rows], confidence[rows], labels[rows], None)]
        iou, limit = self.chosen.nms_iou, self.chosen.per_image
        return trace_suppressed(placed, windows, compared, kept, nms_iou=iou, per_image=limit)

    def _parts(self, found: Found, number: int, size: Size, which: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the (N, P, 4) boxes of the parts of placements, in pixels.

        Args:
            found: in the images.
            number: of the image.
            size: of the image.
            which: (N,) classes, places and components.
        """
        labels, places, own = which
        components = cast(Sequence[Stars], self.components)
        boxes, first = self.mean.new_zeros((len(labels), components[0].num_parts, 4)), 0
        levels = zip(found, self.pyramid.cells(size), self.pyramid.cell_px(size), strict=True)
        for level, (rows, columns), (height_px, width_px) in levels:
            at, first = places - first, first + rows * columns
            for component, (stars, placed) in enumerate(zip(components, level, strict=True)):
                mine = torch.nonzero((at >= 0) & (places < first) & (own == component)).flatten()
                here = at[mine]
                cells = stars.part_boxes(placed, number, labels[mine], here // columns, here % columns)
                cell_px = cells.new_tensor([width_px, height_px] * 2, dtype=torch.float32)
                boxes[mine] = (cells + self.pyramid.cell_offset - 0.5) * cell_px
        return boxes
