"""The search for star models stage by stage, by the star-cascade."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.dpm.placements import ClassModel, Found, padded, placed, together
from detkit.detectors.dpm.responses import Responses, respond
from detkit.models.hog.feature_pyramid import Level
from detkit.ops.distance_transform import REACH, moving_costs
from detkit.ops.kernels.star_cascade_loops import memory_of, run_cascade

Array = NDArray[Any]


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
    filters = [component.parts @ projection for component in components]
    parts = iter(zip(filters, respond(filters, few_fine), strict=True))
    for model in models:
        found, padding = [Found.none(len(model.components[0].parts))], model.padding
        full, *halves = (padded(own.features, padding) for own in (level, few_fine, fine))
        for number, component in enumerate(model.components):
            size = tuple(n - side + 1 for n, side in zip(full.shape[:2], component.root.shape, strict=False))
            scores = next(roots).maps((size[0], size[1]), padding).astype(np.float64)
            bias = component.offset + component.location_at(level.octave)
            scores = np.concatenate([scores + bias, scores])
            places = _passing(model, number, scores, full, halves, *next(parts))
            if len(places[0]):
                found.append(placed(model, number, level, fine, *places))
        yield together(found)


def _passing(
    model: ClassModel,
    number: int,
    roots: Array,
    full: Array,
    halves: Sequence[Array],
    few: Array,
    responses: Responses,
) -> tuple[Array, Array]:
    """Return the (N, 2) places of roots that pass, and the (N, P, 2) places of their parts."""
    component = model.components[number]
    stages, num_parts = component.stages, len(component.parts)
    assert stages is not None
    border = -(-model.padding[0] // 2), -(-model.padding[1] // 2)
    seen = roots[0, border[0] : roots.shape[1] - border[0], border[1] : roots.shape[2] - border[1]]
    possible = int((seen >= stages.limits[1]).sum())
    found, places = np.empty((possible, 2), np.int64), np.empty((possible, num_parts, 2), np.int64)
    if not possible:
        return found, places
    size = halves[1].shape[0], halves[1].shape[1]
    known = responses.maps(size, model.padding), np.empty((num_parts, *size), np.float32)

    def half(filters: Array, which: int) -> tuple[Any, ...]:
        features, memory = halves[which], memory_of(known[which])
        return _rows(filters), _rows(features), features.shape[2], which == 0, *memory

    kept = run_cascade(
        roots,
        (_rows(component.root), _rows(full), full.shape[2]),
        (half(few, 0), half(component.parts, 1)),
        model.offsets(number),
        moving_costs(component.deformations, REACH),
        stages.order,
        stages.limits,
        border,
        found,
        places,
    )
    return found[:kept], places[:kept]


def _rows(values: Array) -> Array:
    """Return (..., rows, columns, C) as (..., rows, columns * C): each row one run of numbers."""
    return np.ascontiguousarray(values).reshape(*values.shape[:-2], -1)
