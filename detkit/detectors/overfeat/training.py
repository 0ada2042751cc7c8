"""Which windows of an image train, and what for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from detkit.models.assignment import CROWD_IOU, assign
from detkit.ops.boxes import pairwise_ioa
from detkit.ops.matching import BACKGROUND
from detkit.ops.sampling import Sampler
from detkit.structures import Target


class SampledWindows(NamedTuple):
    """Rows of the windows of an image that train, on objects and of background, and the former's objects."""

    positives: Tensor
    negatives: Tensor
    objects: Tensor


@dataclass(frozen=True)
class WindowTraining:
    """The choice of windows that train.

    Attributes:
        per_image: windows of an image.
        fg_fraction: at most this share shows an object.
        fg_iou: a window shows an object from this IoU on, and the nearest ones of each at any.
        bg_iou: a window is background below this IoU with every object.
        negatives: which background trains.
        box_overlap: a window trains the box of its object if so much of the object lies in it.
        box_loss_weight: of the loss of the boxes.
        boxes_train_backbone: whether that loss changes the backbone, too.
    """

    per_image: int = 64
    fg_fraction: float = 0.5
    fg_iou: float = 0.5
    bg_iou: float = 0.3
    negatives: Literal["hardest", "random"] = "hardest"
    box_overlap: float = 0.5
    box_loss_weight: float = 1.0
    boxes_train_backbone: bool = False

    def sample(
        self, windows: Tensor, target: Target, seed: int, like_objects: Tensor | None
    ) -> SampledWindows:
        """Return the windows of an image that train.

        Args:
            windows: (T, 4) in its pixels, cut at the image.
            target: its objects.
            seed: seeds what is chosen at random.
            like_objects: (T,) how much each looks like an object now; None chooses background at random.
        """
        matches = assign(
            windows,
            target,
            fg_iou=self.fg_iou,
            bg_iou=(0.0, self.bg_iou),
            force=True,
            crowd_iou=CROWD_IOU,
        )
        fg, bg = Sampler(self.per_image, self.fg_fraction)(matches, seed)
        if like_objects is not None:
            bg = like_objects.masked_fill(matches != BACKGROUND, -torch.inf).topk(len(bg)).indices
        return SampledWindows(fg, bg, matches[fg])

    def shows_its_object(self, windows: Tensor, boxes: Tensor) -> Tensor:
        """Return (N,) bool: so much of each of (N, 4) boxes lies in its (N, 4) window that it trains it."""
        return pairwise_ioa(boxes, windows).diagonal() >= self.box_overlap
