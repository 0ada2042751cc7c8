"""Placements of star models: where roots and parts are, what they score, and their boxes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.dpm.stars import Component
from detkit.models.hog.feature_pyramid import Level
from detkit.ops.distance_transform import REACH, moving_costs
from detkit.ops.kernels.star_loops import fill_scores

Array = NDArray[Any]


@dataclass(frozen=True)
class Found:
    """Placements of a class's models in an image, best first.

    Attributes:
        components: (N,) int64 which of the class's components.
        scores: (N,) float64.
        roots: (N, 3) int64 level, y and x of the root in the padded map of that level.
        parts: (N, P, 2) int64 y and x of the parts in the padded map of the level an octave below.
        filters: (N, 1 + P, 4) float64 boxes of root and parts, in pixels.
    """

    components: Array
    scores: Array
    roots: Array
    parts: Array
    filters: Array

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def none(num_parts: int) -> Found:
        """Return no placements."""
        roots, parts = np.zeros((0, 3), np.int64), np.zeros((0, num_parts, 2), np.int64)
        return Found(np.zeros(0, np.int64), np.zeros(0), roots, parts, np.zeros((0, 1 + num_parts, 4)))

    def part(self, which: Array) -> Found:
        """Return some of them: their places in order, or whether each is one."""
        return Found(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True)
class ClassModel:
    """The components of a class and what they need around an image.

    Attributes:
        components: all of them, with equal numbers of parts of one size.
        threshold: greatest score that is no detection.
        projection: (32, C) to the few channels that a star-cascade begins with; None looks at everything.
    """

    components: Sequence[Component]
    threshold: float
    projection: Array | None = None

    @cached_property
    def padding(self) -> tuple[int, int]:
        """Rows and columns around the image where a root may begin, of cells that are outside."""
        roots = [component.root.shape for component in self.components]
        return max(root[0] for root in roots), max(root[1] for root in roots)

    @cached_property
    def smallest(self) -> tuple[int, int]:
        """Rows and columns of the smallest filters, which decide how large the maps of scores are."""
        shapes = [component.root.shape for component in self.components]
        shapes += [component.parts.shape[1:] for component in self.components if len(component.parts)]
        return min(shape[0] for shape in shapes), min(shape[1] for shape in shapes)

    def offsets(self, number: int) -> Array:
        """Return the (P, 2) y and x of the anchors of a component's parts for a root at 0, 0 of its map."""
        return self.components[number].anchors[:, ::-1] - self.padding

    @cached_property
    def few_parts(self) -> list[Array]:
        """(P, rows, columns, C) float32 filters of each component's parts in few channels."""
        assert self.projection is not None
        projection = self.projection.astype(np.float32)
        return [component.parts @ projection for component in self.components]

    @cached_property
    def movement(self) -> list[tuple[Array, Array, Array]]:
        """Of each component where its parts are and what it costs to move them.

        See `detkit.ops.kernels.star_cascade_loops.pass_few_channels`.
        """
        found = []
        for number, component in enumerate(self.components):
            across, down = moving_costs(component.deformations, REACH)[..., ::-1]
            costs = across[:, None, :] + down[:, :, None]
            cheapest = costs.reshape(len(costs), -1).argsort(axis=1, kind="stable")
            moves = np.stack(np.divmod(cheapest, costs.shape[2]), axis=-1)
            found.append((self.offsets(number), costs, moves))
        return found

    def map_size(self, level: Level) -> tuple[int, int]:
        """Return rows and columns of a map of scores."""
        rows, columns = (
            side + 2 * (pad + 1) - least + 1
            for side, pad, least in zip(level.features.shape[:2], self.padding, self.smallest, strict=True)
        )
        return max(rows, 0), max(columns, 0)


def placed(
    model: ClassModel, number: int, level: Level, fine: Level | None, roots: Array, parts: Array
) -> Found:
    """Return placements of a component with their scores, summed in float64.

    Args:
        model: the class.
        number: of the component.
        level: of the roots.
        fine: of the parts, an octave below; None where the models have no parts.
        roots: (N, 2) y and x of the roots in the padded level.
        parts: (N, P, 2) those of the parts in theirs.
    """
    component, padding = model.components[number], model.padding
    own = roots[:, None] - padding
    scores = scores_at(level.features, component.root[None], own - 1).sum(1)
    scores += component.offset + component.location_at(level.octave)
    boxes = [_boxes(own, component.root.shape, level.cell_px)]
    if fine is not None:
        dy, dx = np.moveaxis(2 * roots[:, None] + model.offsets(number) - parts, -1, 0)
        costs = (component.deformations * np.stack([dx**2, dx, dy**2, dy], axis=-1)).sum(-1)
        scores += (scores_at(fine.features, component.parts, parts - padding - 1) - costs).sum(1)
        boxes.append(_boxes(parts - padding, component.parts.shape[1:], fine.cell_px))
    components = np.full(len(roots), number)
    places = np.concatenate([np.full((len(roots), 1), level.number), roots], axis=1)
    return Found(components, scores, places, parts, np.concatenate(boxes, axis=1))


def scores_at(features: Array, filters: Array, places: Array) -> Array:
    """Return the (N, F) scores in float64 of filters at (N, F) places of a level.

    Args:
        features: (rows, columns, 32) of the level.
        filters: (F, h, w, 32) filters.
        places: (N, F, 2) row and column of each, perhaps outside.
    """
    scores = np.empty(places.shape[:2])
    fill_scores(features, filters, places, scores)
    return scores


def _boxes(places: Array, size: Sequence[int], cell_px: float) -> Array:
    """Return the (N, F, 4) boxes in pixels of filters at (N, F, 2) rows and columns."""
    corners = places[..., ::-1] * cell_px
    return np.concatenate([corners, corners + np.array(size[1::-1]) * cell_px], axis=-1)


def together(parts: Sequence[Found]) -> Found:
    """Return all of them, best first; of equal scores the finer level, the left and the upper one first."""
    names = [field.name for field in fields(Found)]
    whole = Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    level, y, x = whole.roots.T
    return whole.part(np.lexsort((y, x, level, -whole.scores)))


def padded(features: Array, padding: tuple[int, int]) -> Array:
    """Return features with cells outside the image around them, one more than the padding on each side."""
    rows, columns = (pad + 1 for pad in padding)
    height, width, channels = features.shape
    whole = np.zeros((height + 2 * rows, width + 2 * columns, channels), np.float32)
    whole[..., -1] = 1
    whole[rows : rows + height, columns : columns + width] = features
    return whole
