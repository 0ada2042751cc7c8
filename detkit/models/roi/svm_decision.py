"""The decision of R-CNN and SPP-net on a region's features: SVMs, and box regression learned apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NEVER = -20.0  # margin of a class that was not learned: a score of 2e-9, below any that is reported


class SVMScores(nn.Module):
    """One linear SVM for each class, on vectors as the network gives them.

    The planes were learned on vectors brought to a mean norm of 20; that factor is part of the weights.
    They are no parameters of a training by gradient.

    Args:
        channels: length of a vector.
        num_classes: K.

    Attributes:
        outputs_per_class: the layer that has a part for each class, and how many outputs it has.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.outputs_per_class = {"cls_score": 1}
        self.cls_score = nn.Linear(channels, num_classes).requires_grad_(False)
        self.forget()

    def forget(self) -> None:
        """Put all planes back to where they find nothing."""
        nn.init.zeros_(self.cls_score.weight)
        nn.init.constant_(self.cls_score.bias, NEVER)

    @property
    def learned(self) -> bool:
        """Whether there is a plane for any class."""
        return bool((self.cls_score.bias != NEVER).any())

    @torch.no_grad()
    def fill(self, weights: Tensor, bias: Tensor, known: Sequence[bool], scale: float) -> None:
        """Take over fitted planes.

        Args:
            weights: (K, D) float64.
            bias: (K,) float64.
            known: whether a class has a plane; one without is never detected.
            scale: what the vectors were multiplied by for fitting.
        """
        for label, has_plane in enumerate(known):
            self.cls_score.weight[label] = weights[label] * scale if has_plane else 0.0
            self.cls_score.bias[label] = bias[label] if has_plane else NEVER

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (R, K) scores in [0, 1], the logistic function of the margins: 0.5 lies on the plane.

        The order of a class's detections, and so its AP, is that of the margins.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            margins: Tensor = self.cls_score(vectors.float())
        return margins.sigmoid()


class RidgeDeltas(nn.Module):
    """One linear box regression for each class, on region features as the network gives them.

    Args:
        channels: length of a region's features.
        num_classes: K.

    Attributes:
        outputs_per_class: the layer that has a part for each class, and how many outputs it has.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.outputs_per_class = {"bbox_pred": 4}
        self.bbox_pred = nn.Linear(channels, 4 * num_classes).requires_grad_(False)
        nn.init.zeros_(self.bbox_pred.weight)
        nn.init.zeros_(self.bbox_pred.bias)

    @torch.no_grad()
    def fill(self, weights: Tensor, bias: Tensor, scale: float) -> None:
        """Take over fitted regressors.

        Args:
            weights: (K, 4, D) float64.
            bias: (K, 4) float64.
            scale: what the features were multiplied by for fitting.
        """
        self.bbox_pred.weight.copy_((weights * scale).flatten(0, 1))
        self.bbox_pred.bias.copy_(bias.flatten())

    def forward(self, features: Tensor) -> Tensor:
        """Return (R, K, 4) deltas for `detkit.models.roi.class_boxes.CODER`."""
        with torch.autocast(features.device.type, enabled=False):
            deltas: Tensor = self.bbox_pred(features.float())
        return deltas.view(len(features), self.bbox_pred.out_features // 4, 4)
