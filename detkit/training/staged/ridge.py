"""Box regression by ridge regression, one model for each class, as in R-CNN and SPP-net."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.models.roi.selection import CODER
from detkit.ops.boxes import pairwise_iou

_WHITENING = 1e-3  # added to the variances, so that a direction in which no target lies is not blown up
_BLOCK = 1024  # examples whose products are summed at a time


@dataclass(frozen=True)
class BoxRegressor:
    """A linear map from features to the deltas of `CODER`.

    Attributes:
        weights: (D, 4) float64.
        bias: (4,) float64.
    """

    weights: Tensor
    bias: Tensor


@dataclass(frozen=True)
class BoxExamples:
    """The boxes of one image that regression learns from.

    Attributes:
        rows: (E,) which of the boxes.
        labels: (E,) class of the object that each lies on.
        targets: (E, 4) deltas from the box to that object.
    """

    rows: Tensor
    labels: Tensor
    targets: Tensor


def box_examples(boxes: Tensor, objects: Tensor, labels: Tensor, min_iou: float) -> BoxExamples:
    """Return the boxes that overlap an object by more than `min_iou`, each with the object it overlaps most.

    The object is the best of all classes, so a box is an example of one class at most. The papers' boxes
    include the objects themselves, whose targets are 0: the caller adds them.

    Args:
        boxes: (N, 4) corner boxes in pixels.
        objects: (M, 4) corner boxes in pixels.
        labels: (M,) classes of the objects.
        min_iou: 0.6 in R-CNN, 0.5 in SPP-net; this IoU itself is too little.

    Reference: Girshick et al., R-CNN, CVPR 2014, appendix C.
    """
    if len(objects) == 0:
        nothing = labels.new_zeros(0)
        return BoxExamples(nothing, nothing, boxes.new_zeros((0, 4)))
    best, own = pairwise_iou(boxes, objects).max(dim=1)
    rows = torch.nonzero(best > min_iou).squeeze(1)
    own = own[rows]
    return BoxExamples(rows, labels[own], CODER.encode(objects[own], boxes[rows]))


class RidgeMoments:
    """What ridge regression needs to know of the examples of a class, gathered a few at a time.

    As long as there are no more examples than features, the examples themselves are kept; then their
    products, which take (D + 1)² numbers however many examples follow (680 MB for R-CNN's 9,216 features).

    Args:
        num_features: D.
    """

    def __init__(self, num_features: int) -> None:
        self.num_features = num_features
        self._rows: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._waiting = 0
        self._gram: Tensor | None = None  # X'X, where the last column of X is 1
        self._cross = torch.zeros((num_features + 1, 4), dtype=torch.float64)  # X'Y

    def __len__(self) -> int:
        return sum(len(targets) for targets in self._targets)

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add examples.

        Args:
            features: (E, D), scaled so that their mean norm is 20.
            targets: (E, 4) deltas.
        """
        if len(features) == 0:
            return
        self._rows.append(features.detach().to(torch.float32, copy=True))
        self._targets.append(targets.detach().double())
        self._waiting += len(features)
        if self._waiting > (self.num_features if self._gram is None else _BLOCK):
            self._sum_up()

    def solve(self, ridge: float) -> BoxRegressor:
        """Return the regressor of the least Σ |target - prediction|² + ridge · |weights|².

        A constant 1 is appended to the features, and its weight is part of |weights|. Targets are
        whitened by their mean and (biased) covariance, and predictions are turned back. Without examples
        the regressor is 0: it leaves boxes as they are.

        Args:
            ridge: 1000 in R-CNN, 4000 in SPP-net.

        Reference: Girshick et al., R-CNN, CVPR 2014, appendix C.
        """
        if len(self) == 0:
            zeros = torch.zeros((self.num_features, 4), dtype=torch.float64)
            return BoxRegressor(zeros, zeros.new_zeros(4))
        targets = torch.cat(self._targets)
        mean = targets.mean(dim=0)
        whiten, back = _whitening(targets - mean)
        if self._gram is None:
            x = _with_ones(torch.cat(self._rows))
            small = x @ x.T
            small.diagonal().add_(ridge)
            found = x.T @ _cholesky_solve(small, (targets - mean) @ whiten)
        else:
            self._sum_up()
            gram = self._gram.clone()
            cross = self._cross - torch.outer(gram[:, -1], mean)  # X' (Y - mean)
            gram.diagonal().add_(ridge)
            found = _cholesky_solve(gram, cross @ whiten)
        found = found @ back
        return BoxRegressor(found[:-1], found[-1] + mean)

    def _sum_up(self) -> None:
        if self._gram is None:
            size = self.num_features + 1
            self._gram = torch.zeros((size, size), dtype=torch.float64)
        if self._waiting == 0:
            return
        targets = torch.cat(self._targets)
        begun = len(targets) - self._waiting
        features = torch.cat(self._rows)
        self._rows, self._waiting = [], 0
        for x, y in zip(torch.split(features, _BLOCK), torch.split(targets[begun:], _BLOCK), strict=True):
            x64 = _with_ones(x)
            self._gram.addmm_(x64.T, x64)
            self._cross.addmm_(x64.T, y)
        self._targets = [targets]


def _with_ones(features: Tensor) -> Tensor:
    features = features.double()
    return torch.cat((features, features.new_ones((len(features), 1))), dim=1)


def _whitening(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Return T = V diag(1/sqrt(d + 0.001)) V' of the targets' covariance V diag(d) V', and its inverse."""
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    spread = torch.sqrt(values.clamp(min=0) + _WHITENING)
    return vectors @ torch.diag(1 / spread) @ vectors.T, vectors @ torch.diag(spread) @ vectors.T


def _cholesky_solve(matrix: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right, torch.linalg.cholesky(matrix))
