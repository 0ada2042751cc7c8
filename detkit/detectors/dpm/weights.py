"""The weights of a star model as one vector, and what a placement puts beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from detkit.detectors.dpm.placements import Found, padded
from detkit.detectors.dpm.stars import OCTAVES, Component
from detkit.models.hog.dpm_features import MIRRORED
from detkit.models.hog.feature_pyramid import Level
from detkit.ops.kernels.dpm_feature_loops import CHANNELS
from detkit.training.staged.latent_svm import Weights

Array = NDArray[Any]

BIAS = 10.0
"""What stands beside the bias in a vector of features: it grows at little cost."""

_NOT_THERE = -1000.0  # location of a root that is kept out of the finest octave
_STIFFNESS = 0.001  # least factor of a part's square distance
_STIFF = 10.0  # how much more the costs of moving weigh in the norm than filters do


@dataclass(frozen=True, eq=False)
class StarWeights:
    """The weights of a star model, which its mirror image shares.

    Attributes:
        root: rows and columns of the root filter.
        part: rows and columns of each part's filter.
        anchors: (P, 2) x and y of each part, in cells of twice the resolution, from the root's corner.
        mirrored: whether its mirror image is looked for, too.
        values: (D,) float64: root, parts, (P, 4) costs of moving, location by octave, and the bias over 10.
    """

    root: tuple[int, int]
    part: tuple[int, int]
    anchors: Array
    mirrored: bool
    values: Array

    @staticmethod
    def of_root(root: tuple[int, int], part: tuple[int, int], *, mirrored: bool) -> StarWeights:
        """Return a star model without parts, all 0, whose root is not looked for in the finest octave."""
        values = np.zeros(root[0] * root[1] * CHANNELS + OCTAVES + 1)
        values[-OCTAVES - 1] = _NOT_THERE
        return StarWeights(root, part, np.zeros((0, 2), np.int64), mirrored, values)

    @property
    def num_parts(self) -> int:
        """P."""
        return len(self.anchors)

    @property
    def num_sides(self) -> int:
        """2 with a mirror image, otherwise 1."""
        return 2 if self.mirrored else 1

    def split(self, values: Array) -> list[Array]:
        """Return views of (..., D) values: root, parts, costs of moving, location and bias."""
        one = self.part[0] * self.part[1] * CHANNELS
        root = self.root[0] * self.root[1] * CHANNELS
        sizes = [root, self.num_parts * one, 4 * self.num_parts, OCTAVES]
        pieces = np.split(values, np.cumsum(sizes), axis=-1)
        before = values.shape[:-1]
        shapes: list[tuple[int, ...]] = [
            (*self.root, CHANNELS),
            (self.num_parts, *self.part, CHANNELS),
            (self.num_parts, 4),
            (OCTAVES,),
            (),
        ]
        return [piece.reshape((*before, *shape)) for piece, shape in zip(pieces, shapes, strict=True)]

    def components(self) -> list[Component]:
        """Return the model as it is looked for, and its mirror image where that is, too."""
        root, parts, deformations, location, bias = self.split(self.values)
        own = Component(
            root.astype(np.float32),
            parts.astype(np.float32),
            self.anchors,
            deformations,
            BIAS * float(bias),
            location,
            None,
        )
        return [own, own.mirrored(None)] if self.mirrored else [own]

    def trainable(self) -> Weights:
        """Return the weights as they are fitted: the location only of a model with parts, as release 5."""
        penalty, least = np.ones_like(self.values), np.full_like(self.values, -np.inf)
        fixed = np.zeros(self.values.shape, np.bool_)
        _, _, costs, location, bias = self.split(penalty)
        costs[:], bias[...] = _STIFF, 0
        self.split(least)[2][:, ::2] = _STIFFNESS
        if not self.num_parts:
            location[:] = 0
            self.split(fixed)[3][:] = True
        return Weights(self.values, penalty, least, fixed)

    def with_values(self, values: Array) -> StarWeights:
        """Return the model with other values."""
        return replace(self, values=values)

    def with_parts(self, anchors: Array, filters: Array, deformation: Array) -> StarWeights:
        """Return the model with parts, which may be looked for in all octaves.

        Args:
            anchors: (P, 2) x and y of each.
            filters: (P, rows, columns, 32).
            deformation: (4,) cost of moving, of all.
        """
        root, *_, bias = self.split(self.values)
        costs, location = np.tile(deformation, len(anchors)), np.zeros(OCTAVES)
        values = np.concatenate([root.ravel(), filters.ravel(), costs, location, bias.reshape(1)])
        return StarWeights(self.root, self.part, anchors, self.mirrored, values)

    def features(
        self, found: Found, level: Level, fine: Level | None, side: int, padding: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return the (N, D) features of placements: times the weights, they give the scores.

        Args:
            found: placements of this model.
            level: of their roots.
            fine: of their parts; None where it has none.
            side: 0, or 1 where they are placements of the mirror image.
            padding: rows and columns of cells around the levels that places are counted in.
        """
        features = np.zeros((len(found), len(self.values)), np.float32)
        root, parts, costs, location, bias = self.split(features)
        root[:] = _windows(padded(level.features, padding), found.roots[:, 1:], self.root, side)
        if fine is not None and self.num_parts:
            cells = padded(fine.features, padding)
            parts[:] = _windows(cells, found.parts.reshape(-1, 2), self.part, side).reshape(parts.shape)
            anchors = self.components()[side].anchors[:, ::-1] - padding
            dy, dx = np.moveaxis(2 * found.roots[:, None, 1:] + anchors - found.parts, -1, 0)
            costs[:] = -np.stack([dx**2, -dx if side else dx, dy**2, dy], axis=-1)
        location[:, min(level.octave, OCTAVES - 1)] = 1
        bias[:] = BIAS
        return features


def _windows(cells: Array, places: Array, size: tuple[int, int], side: int) -> Array:
    """Return the (N, rows, columns, 32) features at (N, 2) places, mirrored for side 1."""
    windows = sliding_window_view(cells, size, axis=(0, 1))
    found = windows[places[:, 0], places[:, 1]].transpose(0, 2, 3, 1)
    return found[:, :, ::-1, MIRRORED] if side else found
