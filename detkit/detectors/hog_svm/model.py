"""HOG + linear SVM (Dalal and Triggs, CVPR 2005)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detkit.detectors.hog_svm.pictures import template_picture
from detkit.errors import UserError
from detkit.models.assignment import CROWD_IOU
from detkit.models.hog.cut_windows import Windows, cut, windows_around
from detkit.models.hog.descriptor import HOG, hog_blocks
from detkit.models.hog.grouping import group_by_mean_shift, group_rectangles
from detkit.models.hog.pyramid import Level, Pyramid, Size, levels_of, matches
from detkit.models.image_input import in_file_pixels, plain_images
from detkit.models.roi.decision import NEVER
from detkit.models.traced_windows import nearest_rows, trace_merged, trace_suppressed
from detkit.ops.boxes import clip, has_area
from detkit.ops.nms import grouped_nms
from detkit.structures import Detections, ImageBatch, Target, Trace, TrainBatch
from detkit.training.staged.decision import negatives_of_classes


class Template(nn.Module):
    """One class's plane, whose weights lie on the blocks of its window.

    The window's size is that of the weights: those of a file bring their own.

    Args:
        shape: values of a block, and rows and columns of blocks.
    """

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape), requires_grad=False)
        self.bias = nn.Parameter(torch.tensor([NEVER]), requires_grad=False)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *more: Any) -> None:
        given = state_dict.get(f"{prefix}weight")
        if isinstance(given, Tensor) and given.dim() == 3 and len(given) == len(self.weight):
            self.fill(given, self.bias)
        super()._load_from_state_dict(state_dict, prefix, *more)

    @torch.no_grad()
    def fill(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a plane: (D, rows, columns) weights and a (1,) bias."""
        place = self.weight.device
        self.weight = nn.Parameter(weight.to(place, torch.float32).clone(), requires_grad=False)
        self.bias = nn.Parameter(bias.to(place, torch.float32).clone(), requires_grad=False)


@dataclass(frozen=True)
class WindowSelection:
    """Which windows are reported.

    Attributes:
        margin_threshold: windows below are not.
        grouping: how those that one object answers to become one.
        nms_iou: of two boxes that overlap more, `nms` drops the worse.
        more_than: `rectangles` drops groups of so many windows or fewer.
        density_above: `mean_shift` drops peaks of no greater density.
        per_image: most boxes of an image.
    """

    margin_threshold: float = -1.0
    grouping: Literal["nms", "rectangles", "mean_shift"] = "nms"
    nms_iou: float = 0.3
    more_than: int = 2
    density_above: float = 0.0
    per_image: int = 100


NEGATIVE_IOU = 0.3
"""A window is background below this IoU with each object of a class, when windows are counted."""
DESCRIPTOR, PYRAMID, WINDOWS = HOG(), Pyramid(padding_px=8), WindowSelection()


class HOGSVM(nn.Module):
    """Slides each class's template over the HOG of an image and of smaller copies of it.

    All is computed on the CPU, of pixels of files, wherever the templates are.

    Args:
        num_classes: K.
        hog: the descriptor's parameters.
        pyramid: the copies.
        windows: (height, width) in pixels of each class's window; None leaves them to the training, or to
            the file that the weights come from.
        context_px: pixels of a window around the object, on every side.
        selection: chooses what is reported.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        hog: HOG = DESCRIPTOR,
        pyramid: Pyramid = PYRAMID,
        windows: Sequence[Size] | None = None,
        context_px: int = 16,
        selection: WindowSelection = WINDOWS,
    ) -> None:
        super().__init__()
        self.num_classes, self.hog, self.pyramid = num_classes, hog, pyramid
        self.context_px, self.selection = context_px, selection
        least = (hog.block_px, hog.block_px)
        self.templates = nn.ModuleList(
            Template((hog.block_size, hog.num_blocks(height), hog.num_blocks(width)))
            for height, width in windows or [least] * num_classes
        )

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Refuse: the templates are fitted to examples (`detkit.detectors.hog_svm.recipe`)."""
        raise UserError("hog_svm is not trained by gradient: train.type must be mining")

    def fill(self, weights: Tensor, bias: Tensor, known: Sequence[bool], scale: float) -> None:
        """Take over fitted planes, in the size that the windows have.

        Args:
            weights: (K, D) float64; a smaller window's are followed by zeros.
            bias: (K,) float64.
            known: whether a class has a plane; one without is never detected.
            scale: what the features were multiplied by for fitting.
        """
        for label, has_plane in enumerate(known):
            template = self.template(label)
            if has_plane:
                plane = weights[label, : template.weight.numel()].view_as(template.weight)
                template.fill(plane * scale, bias[label, None])

    def window(self, label: int) -> Size:
        """Return the (height, width) of a class's window in pixels."""
        _, rows, columns = self.template(label).weight.shape
        return self.hog.length_px(rows), self.hog.length_px(columns)

    def template(self, label: int) -> Template:
        """Return the plane of a class."""
        return cast(Template, self.templates[label])

    def filter_pictures(self) -> list[NDArray[np.uint8]]:
        """Return for each class a picture of its template, (H, W, 3) uint8 RGB."""
        templates = (self.template(label) for label in range(self.num_classes))
        return [template_picture(own.weight.numpy(force=True), self.hog) for own in templates]

    @torch.no_grad()
    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of the image's file.

        Raises:
            UserError: the pixels are not those of files.
        """
        if images.pixels.is_floating_point():
            raise UserError("hog_svm needs pixels of files, uint8 RGB; got normalised ones")
        device = self.template(0).weight.device
        return in_file_pixels([self._detect(own).to(device) for own in plain_images(images)], images)

    @torch.no_grad()
    def trace(self, images: ImageBatch, objects: Sequence[Target]) -> list[Trace]:
        """Return what became of each image's windows; see `detkit.capabilities.TracesCandidates`."""
        return [self._trace(*own) for own in zip(plain_images(images), objects, strict=True)]

    def _trace(self, pixels: NDArray[np.uint8], target: Target) -> Trace:
        levels, size, each = self.levels(pixels), (pixels.shape[0], pixels.shape[1]), []
        for label in range(self.num_classes):
            windows, margins, _ = self.windows(levels, size, label, -np.inf)
            boxes = clip(torch.from_numpy(self.objects(windows, label)).float(), size)
            chosen = torch.from_numpy(margins >= self.selection.margin_threshold)
            chosen[nearest_rows(boxes, target.boxes.cpu())] = True
            raw, labels = torch.from_numpy(margins)[chosen], torch.full((int(chosen.sum()),), label)
            regions = torch.from_numpy(windows).float()[chosen]
            each.append((Detections(boxes[chosen], raw.sigmoid(), labels, raw), regions))
        found, regions = Detections.joined([own for own, _ in each]), torch.cat([own for _, own in each])
        assert found.margins is not None
        compared = (found.margins >= self.selection.margin_threshold) & has_area(found.boxes)
        if self.selection.grouping != "nms":
            merged = replace(self._detect(pixels, every=True), margins=None)
            return trace_merged(found, regions, compared, merged, self.selection.per_image)
        rows, iou = torch.nonzero(compared)[:, 0], self.selection.nms_iou
        kept = rows[grouped_nms(found.boxes[rows], found.scores[rows], found.labels[rows], iou)]
        limit = self.selection.per_image
        return trace_suppressed(found, regions, compared, kept, nms_iou=iou, per_image=limit)

    def levels(self, pixels: NDArray[np.uint8]) -> list[Level]:
        """Return the HOG of the copies of an image that the smallest window fits in."""
        windows = np.array([self.window(label) for label in range(self.num_classes)])
        height, width = windows.min(axis=0).tolist()
        return levels_of(pixels, self.hog, self.pyramid, (height, width))

    def num_levels(self, size: Size, label: int) -> int:
        """Return how many of the copies of an image of (height, width) a class's window fits in."""
        return len(self.pyramid.scales(size, self.window(label)))

    def windows(
        self, levels: Sequence[Level], size: Size, label: int, least: float | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
        """Return the (N, 4) windows of a class not below a margin, their (N,) margins and (N,) scales.

        They may reach over the image where there is padding.

        Args:
            levels: of an image.
            size: its (height, width) in pixels.
            label: the class.
            least: the margin; None takes that of detections.
        """
        template = self.template(label)
        boxes, margins, scales = [np.zeros((0, 4), np.int64)], [np.zeros(0, np.float32)], [np.zeros(0)]
        for level, places, found in matches(
            levels,
            template.weight.cpu(),
            float(template.bias),
            self.num_levels(size, label),
            self.selection.margin_threshold if least is None else least,
        ):
            boxes.append(level.boxes(places, self.window(label)))
            margins.append(found)
            scales.append(np.full(len(found), level.scale))
        return np.concatenate(boxes), np.concatenate(margins), np.concatenate(scales)

    def _detect(self, pixels: NDArray[np.uint8], *, every: bool = False) -> Detections:
        """Return what is in an image, best first; `every` goes on beyond the limit of an image."""
        chosen, size, levels = self.selection, pixels.shape[:2], self.levels(pixels)
        each = []
        for label in range(self.num_classes):
            boxes, margins, scales = self.windows(levels, (size[0], size[1]), label)
            if chosen.grouping == "rectangles":
                boxes, margins = group_rectangles(boxes, margins, chosen.more_than)
            elif chosen.grouping == "mean_shift":
                window, least = self.window(label), chosen.density_above
                boxes, margins = group_by_mean_shift(boxes, margins, scales, window, least)
            each.append((self.objects(boxes, label), margins, np.full(len(boxes), label)))
        corners, raw, labels = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*each, strict=True))
        corners = clip(corners.float(), (size[0], size[1]))
        found = Detections(corners, raw.sigmoid(), labels, raw)
        found, limit = found.at(has_area(corners)), None if every else chosen.per_image
        if chosen.grouping == "nms":
            return found.at(grouped_nms(found.boxes, found.scores, found.labels, chosen.nms_iou, limit))
        return found.at(found.scores.sort(descending=True, stable=True).indices[:limit])

    def described(
        self, pixels: NDArray[np.uint8], windows: Windows, label: int, *, mirror: bool = False
    ) -> NDArray[np.float32]:
        """Return (N, D) features of windows of a class, cut out of an image.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            windows: where they are.
            label: the class.
            mirror: describe as many mirrored ones behind them, too.
        """
        cuts = [
            cut(pixels, corner, scale, self.window(label))
            for corner, scale in zip(windows.corners, windows.scales.tolist(), strict=True)
        ]
        if mirror:
            cuts += [np.ascontiguousarray(each[:, ::-1]) for each in cuts]
        blocks = [hog_blocks(each, self.hog, -1).transpose(2, 0, 1).ravel() for each in cuts]
        return np.stack(blocks) if blocks else np.zeros((0, self.template(label).weight.numel()), np.float32)

    def object_margins(
        self, pixels: NDArray[np.uint8], target: Target
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (P,) margins of windows around objects, cut out as in training, and their (P,) classes."""
        margins, labels = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
        chosen = ~(target.difficult | target.crowd)
        for label in range(self.num_classes):
            boxes = target.boxes[chosen & (target.labels == label)].numpy()
            template = self.template(label)
            windows = windows_around(boxes, self.window(label), self.context_px)
            plane = template.weight.flatten().numpy(force=True)
            margins.append(self.described(pixels, windows, label) @ plane + np.float32(template.bias))
            labels.append(np.full(len(boxes), label))
        return np.concatenate(margins), np.concatenate(labels)

    def background_margins(self, pixels: NDArray[np.uint8], target: Target) -> list[NDArray[np.float32]]:
        """Return for each class the (N,) margins of all windows but those on its objects and crowds."""
        levels, size, found = self.levels(pixels), (pixels.shape[0], pixels.shape[1]), []
        for label in range(self.num_classes):
            boxes, margins, _ = self.windows(levels, size, label, -np.inf)
            negative = negatives_of_classes(
                torch.from_numpy(self.objects(boxes, label)).float(),
                target,
                self.num_classes,
                below_iou=NEGATIVE_IOU,
                crowd_iou=CROWD_IOU,
            )
            found.append(margins[negative[:, label].numpy()])
        return found

    def objects(self, boxes: NDArray[np.int64], label: int) -> NDArray[np.float64]:
        """Return the (N, 4) boxes of the objects in (N, 4) windows, which are smaller by the context."""
        height, width = self.window(label)
        less = (boxes[:, 2:] - boxes[:, :2]) * (self.context_px / np.array([width, height]))
        return np.concatenate([boxes[:, :2] + less, boxes[:, 2:] - less], axis=1)
