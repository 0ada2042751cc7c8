"""The latent SVM: which placements stand for objects, which are hard negatives, and the loss of both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.models.assignment import CROWD_IOU
from detkit.ops.boxes import pairwise_ioa, pairwise_iou
from detkit.structures import Target


@dataclass(frozen=True)
class Overlaps:
    """How the windows of an image lie on its objects.

    Attributes:
        ious: (R, G) of each window with each object.
        in_crowd: (R,) whether a window lies in a crowd, so that it is no negative.
        target: the objects.
    """

    ious: Tensor
    in_crowd: Tensor
    target: Target

    @staticmethod
    def of(windows: Tensor, target: Target) -> Overlaps:
        """Return the overlaps of (R, 4) windows in pixels, cut at the image."""
        within = pairwise_ioa(windows, target.boxes[target.crowd]) > CROWD_IOU
        return Overlaps(pairwise_iou(windows, target.boxes), within.any(dim=1), target)

    @property
    def wanted(self) -> Tensor:
        """(G,) bool: the objects that train, neither difficult nor a crowd."""
        return ~(self.target.difficult | self.target.crowd)


@dataclass(frozen=True)
class LatentSVM:
    """The choice of placements that train, by what the model says of them now.

    Attributes:
        fg_iou: a window may stand for an object from this IoU on; where there is none, the nearest may.
        negative_iou: a window is a negative of a class below this IoU with each of its objects. An object
            that no window reaches so far does not train.
        negatives_per_image: the hardest ones that train, over all classes.
    """

    fg_iou: float = 0.7
    negative_iou: float = 0.3
    negatives_per_image: int = 64

    def positives(self, margins: Tensor, overlaps: Overlaps) -> tuple[Tensor, Tensor]:
        """Return for each object that trains its class and the best window that may stand for it.

        Args:
            margins: (K, R) of each class at each window.
            overlaps: of these windows.
        """
        best = (
            overlaps.ious.amax(0) if len(overlaps.ious) else overlaps.ious.new_zeros(overlaps.ious.shape[1])
        )
        objects = torch.nonzero(overlaps.wanted & (best >= self.negative_iou) & (best > 0)).flatten()
        labels = overlaps.target.labels[objects]
        may = overlaps.ious[:, objects] >= best[objects].clamp(max=self.fg_iou)
        windows = margins[labels].masked_fill(~may.T, -torch.inf)
        return labels, windows.argmax(1) if len(objects) else labels

    def negatives(self, margins: Tensor, overlaps: Overlaps, num_components: int) -> tuple[Tensor, Tensor]:
        """Return class and window of the hardest negatives, of the components of a place the best alone.

        Args:
            margins: (K, R) of each class at each window, the components of a place side by side.
            overlaps: of these windows.
            num_components: M.
        """
        near = overlaps.ious >= self.negative_iou
        free = margins.masked_fill(overlaps.in_crowd, -torch.inf)
        for label in set(overlaps.target.labels.tolist()):
            own = near[:, overlaps.target.labels == label].any(dim=1)
            free[label] = free[label].masked_fill(own, -torch.inf)
        best, component = free.view(len(margins), -1, num_components).max(dim=2)
        hard = best.flatten().topk(min(self.negatives_per_image, best.numel()))
        chosen = hard.indices[hard.values > -torch.inf]
        labels, places = chosen // best.shape[1], chosen % best.shape[1]
        return labels, places * num_components + component[labels, places]

    def loss(self, margins: Tensor, overlaps: Overlaps, num_components: int) -> Tensor:
        """Return the hinge loss of an image: the sum of errors, for each object that trains.

        Args:
            margins: (K, R) of each class at each window, the components of a place side by side.
            overlaps: of these windows.
            num_components: M.
        """
        now = margins.detach()
        positives, negatives = self.positives(now, overlaps), self.negatives(now, overlaps, num_components)
        errors = F.relu(1 - margins[positives]).sum() + F.relu(1 + margins[negatives]).sum()
        return errors / max(1, len(positives[0]))
