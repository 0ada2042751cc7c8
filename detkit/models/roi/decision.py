"""Decisions: what a region is, and where exactly, from the vectors that a network makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.capabilities import Layer
from detkit.ops.coding import BoxCoder
from detkit.structures import RegionDecision

NEVER = -20.0  # margin of a class that was not fitted: a score of 2e-9, below any that is reported


class Decision(nn.Module):
    """What a region is, and where exactly: the last part of every detector of the R-CNN family.

    A subclass scores classes from the vectors of the layer that decides, and moves boxes by the vectors that
    box regression sees, which may be of another layer.
    """

    def scores(self, vectors: Tensor) -> Tensor:
        """Return (R, K) scores in [0, 1] of (R, D) vectors."""
        raise AssertionError(f"{type(self).__name__} scores nothing")

    def margins(self, vectors: Tensor) -> Tensor | None:
        """Return the (R, K) margins that the scores are the logistic function of; None without SVMs."""
        return None

    def logits(self, vectors: Tensor) -> Tensor:
        """Return the (R, K) margins, or what the softmax sees of the K classes."""
        raise AssertionError(f"{type(self).__name__} scores nothing")

    def decide(self, vectors: Tensor, moved_by: Tensor, boxes: Tensor, coder: BoxCoder) -> RegionDecision:
        """Return what regions are.

        Args:
            vectors: (R, D) of the layer that decides.
            moved_by: (R, D') vectors that box regression sees.
            boxes: (R, 4) the regions in pixels.
            coder: decodes the deltas.
        """
        scores, _ = scores_and_margins(self, vectors)
        return RegionDecision(self.logits(vectors), scores, coder.decode(self.deltas(moved_by), boxes))

    def deltas(self, vectors: Tensor) -> Tensor:
        """Return (R, K, 4) deltas of (R, D) vectors, or (R, 1, 4) for all classes; without any they are 0."""
        return vectors.new_zeros((vectors.shape[0], 1, 4), dtype=torch.float32)


class SVMScores(nn.Module):
    """One linear SVM for each class, on vectors as the network gives them.

    The planes were fitted to vectors brought to a mean norm of 20; that factor is part of the weights.
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
    def is_fitted(self) -> bool:
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

    def margins(self, vectors: Tensor) -> Tensor:
        """Return (R, K) margins, 0 on the plane."""
        with torch.autocast(vectors.device.type, enabled=False):
            margins: Tensor = self.cls_score(vectors.float())
        return margins

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (R, K) scores in [0, 1], the logistic function of the margins: 0.5 lies on the plane.

        The order of a class's detections, and so its AP, is that of the margins.
        """
        return self.margins(vectors).sigmoid()


def scores_and_margins(decision: Decision, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the (R, K) scores of (R, D) vectors, and the margins that they are made of, where SVMs decide.

    A decision of the user's own need not know margins.
    """
    margins = decision.margins(vectors) if isinstance(decision, Decision) else None
    return decision.scores(vectors) if margins is None else margins.sigmoid(), margins


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
        """Return (R, K, 4) deltas for `detkit.models.roi.selection.CODER`."""
        with torch.autocast(features.device.type, enabled=False):
            deltas: Tensor = self.bbox_pred(features.float())
        return torch.unflatten(deltas, 1, (-1, 4))


def fitted_in_float32(model: nn.Module) -> None:
    """Let what was fitted to features of a network compute in float32, whatever the network does."""
    for module in model.modules():
        if isinstance(module, SVMScores | RidgeDeltas):
            module.float()


class StagedDecision(Decision):
    """A softmax that fine-tunes the network, and SVMs and ridge regression fitted to its features afterwards.

    Args:
        widths: the layers of the network, and the length of their vectors; the softmax sees the last.
        num_classes: K.
        svms: the SVMs and the layer they see; None scores by the softmax.
        box_deltas: box regression from pool5; None leaves boxes as they are proposed.

    Attributes:
        layer: the layer that scores are made of.
    """

    def __init__(
        self,
        widths: Mapping[Layer, int],
        num_classes: int,
        svms: tuple[SVMScores, Layer] | None = None,
        box_deltas: RidgeDeltas | None = None,
    ) -> None:
        super().__init__()
        last = next(reversed(list(widths)))
        self.classifier = nn.Linear(widths[last], num_classes + 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.outputs_per_class = {"classifier": 1}
        self.svms = None if svms is None else svms[0]
        self.layer: Layer = last if svms is None else svms[1]
        self.box_deltas = box_deltas

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy of (R, D) vectors of the last layer, which fine-tunes the network.

        Args:
            vectors: with dropout.
            labels: (R,) classes, K for background.
        """
        logits = self.classifier(vectors).float()
        return F.cross_entropy(logits, labels, reduction="sum") / max(len(labels), 1)

    def scores(self, vectors: Tensor) -> Tensor:
        """Return (R, K) scores in [0, 1]."""
        if self.svms is not None:
            scores: Tensor = self.svms(vectors)
            return scores
        logits: Tensor = self.classifier(vectors)
        return logits.float().softmax(1)[:, :-1]

    def margins(self, vectors: Tensor) -> Tensor | None:
        """Return the (R, K) margins of the SVMs; None where the softmax decides."""
        return None if self.svms is None else self.svms.margins(vectors)

    def logits(self, vectors: Tensor) -> Tensor:
        """Return the (R, K) margins of the SVMs, or the softmax's logits of the K classes."""
        margins = self.margins(vectors)
        return self.classifier(vectors).float()[:, :-1] if margins is None else margins

    def deltas(self, vectors: Tensor) -> Tensor:
        """Return (R, K, 4) deltas of pool5; without box regression they are 0."""
        if self.box_deltas is None:
            return super().deltas(vectors)
        deltas: Tensor = self.box_deltas(vectors)
        return deltas
