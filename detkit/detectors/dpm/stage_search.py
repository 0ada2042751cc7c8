"""The search for star models stage by stage, by the star-cascade."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.dpm.cascade import CascadeStages
from detkit.detectors.dpm.placements import ClassModel, Found, padded, placed, together
from detkit.detectors.dpm.responses import Responses, respond
from detkit.models.hog.feature_pyramid import Level
from detkit.ops.distance_transform import REACH
from detkit.ops.kernels.star_cascade_loops import pass_all_channels, pass_few_channels

Array = NDArray[Any]

_MANY = 0.05  # of the roots; where more pass the first stage, all parts are looked for at once


def search_in_stages(models: Sequence[ClassModel], level: Level, fine: Level) -> Iterator[Found]:
    """Yield the placements of each class at one level that pass all stages of its components.

    Args:
        models: the classes, with one projection and stages for all.
        level: of the roots.
        fine: of the parts, an octave below.
    """
    projection = models[0].projection
    assert projection is not None
    projection = projection.astype(np.float32)
    few, few_fine = (replace(own, features=own.features @ projection) for own in (level, fine))
    components = [component for model in models for component in model.components]
    roots = iter(respond([component.root[None] @ projection for component in components], few))
    for model in models:
        stages = _Stages(model, level, fine, few_fine)
        yield stages.found([next(roots) for _ in model.components])


class _Stages:
    """The stages of a class's components at one level.

    Args:
        model: the class.
        level: of the roots.
        fine: of the parts, an octave below.
        few: the same in few channels.
    """

    def __init__(self, model: ClassModel, level: Level, fine: Level, few: Level) -> None:
        self.model, self.level, self.fine, self.few = model, level, fine, few
        self.border = -(-model.padding[0] // 2), -(-model.padding[1] // 2)
        self._few = padded(few.features, model.padding)
        size = (side + 2 * REACH for side in self._few.shape[:2])
        self._seen = np.empty((len(model.components[0].parts), *size), np.float32)

    def found(self, responses: Sequence[Responses]) -> Found:
        """Return the placements, from the responses of each component's root in few channels."""
        model, num_parts = self.model, len(self.model.components[0].parts)
        roots = [self._roots(number, own) for number, own in enumerate(responses)]
        passing = [self._num_passing(number, own) for number, own in enumerate(roots)]
        parts = [np.zeros((0, 0, 0), np.float32)] * len(roots)
        if sum(passing) > _MANY * sum(own.size for own in roots):
            size = self._few.shape[0], self._few.shape[1]
            parts = [own.maps(size, model.padding, REACH) for own in respond(model.few_parts, self.few)]
        found = [Found.none(num_parts)]
        for number in np.flatnonzero(passing).tolist():
            places = self._passing(number, roots[number], parts[number], passing[number])
            if len(places[0]):
                found.append(placed(model, number, self.level, self.fine, *places))
        return together(found)

    def _roots(self, number: int, responses: Responses) -> Array:
        """Return the (rows, columns) scores of a component's root wherever it fits into the padded level."""
        size, padding = self.level.features.shape, self.model.padding
        rows, columns = (size[axis] + 2 * (padding[axis] + 1) - responses.size[axis] + 1 for axis in (0, 1))
        scores: Array = responses.maps((max(rows, 0), max(columns, 0)), padding)[0]
        return scores

    def _stages(self, number: int) -> CascadeStages:
        stages = self.model.components[number].stages
        assert stages is not None
        return stages

    def _bias(self, number: int) -> float:
        component = self.model.components[number]
        return component.offset + component.location_at(self.level.octave)

    def _num_passing(self, number: int, roots: Array) -> int:
        """Return how many roots of a component pass the first stage."""
        rows, columns = self.border
        seen = roots[rows : len(roots) - rows, columns : roots.shape[1] - columns]
        return int((seen.astype(np.float64) + self._bias(number) >= self._stages(number).limits[1]).sum())

    def _passing(self, number: int, roots: Array, parts: Array, at_most: int) -> tuple[Array, Array]:
        """Return the (N, 2) places of roots that pass, and the (N, P, 2) places of their parts."""
        component, few = self.model.components[number], self.model.few_parts[number]
        stages = self._stages(number)
        rest = self.model.movement[number], stages.order, stages.limits
        # A root that is given up leaves its scores behind those of all others.
        found, scores = np.empty((at_most, 2), np.int64), np.empty((at_most + 1, len(few) + 2))
        kept = pass_few_channels(
            roots,
            self._bias(number),
            (_rows(few), _rows(self._few), self._few.shape[2]),
            *rest,
            self.border,
            parts,
            self._seen,
            found,
            scores,
        )
        places = np.empty((kept, len(few), 2), np.int64)
        if kept:
            level, fine = self._all
            kept = pass_all_channels(
                found[:kept],
                scores[:kept],
                (_rows(component.root), _rows(level), level.shape[2]),
                (_rows(component.parts), _rows(fine), fine.shape[2]),
                *rest,
                self._seen,
                places,
            )
        return found[:kept], places[:kept]

    @cached_property
    def _all(self) -> tuple[Array, Array]:
        """Padded features of both levels in all channels, which most levels never need."""
        level, fine = (padded(own.features, self.model.padding) for own in (self.level, self.fine))
        return level, fine


def _rows(values: Array) -> Array:
    """Return (..., rows, columns, C) as (..., rows, columns * C): each row one run of numbers."""
    return np.ascontiguousarray(values).reshape(*values.shape[:-2], -1)
