"""The search for star models in a pyramid: the best parts of every root, by dynamic programming.

Felzenszwalb et al., PAMI 2010, section 3; ranges, padding and order as in the authors' release 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.detectors.dpm.placements import ClassModel, Found, placed, together
from detkit.detectors.dpm.responses import Responses, respond
from detkit.detectors.dpm.stage_search import search_in_stages
from detkit.models.hog.feature_pyramid import FeaturePyramid, Level
from detkit.ops.kernels.star_loops import add_parts, find_places
from detkit.runtime.compiled import run_all
from detkit.runtime.threads import number_kept

Array = NDArray[Any]

_ROUNDING = 1e-4  # a score in float32 is nearer than that to the one in float64
_LARGE_PX = 4_000_000  # of one phase of the pyramid, hundreds of bytes for each pixel are in use
_MOST_RESPONSES = 6_000_000  # in memory together: few enough to stay in the cache until parts are added


class ScoreMaps:
    """Scores of the components of a class at one level, and where their parts are.

    Args:
        model: the class.
        level: of the roots.
        fine: of the parts, an octave below; None where the models have no parts.

    Attributes:
        scores: (C, rows, columns) float64 of each component with its root at each place of the padded level;
            -inf where it has none.
    """

    def __init__(self, model: ClassModel, level: Level, fine: Level | None) -> None:
        self.model, self.level, self.fine = model, level, fine
        self.scores = np.empty((len(model.components), *model.map_size(level)))
        self._parts: list[Responses | None] = [None] * len(model.components)

    def fill(self, number: int, roots: Responses, parts: Responses | None) -> None:
        """Take in the responses of a component's root and of its parts."""
        model, level = self.model, self.level
        component, scores = model.components[number], self.scores[number]
        scores[:] = roots.maps(model.map_size(level), model.padding)[0]
        scores += component.offset + component.location_at(level.octave)
        if parts is not None and self.fine is not None:
            self._parts[number] = parts
            add_parts(
                scores,
                parts.values,
                parts.outside,
                parts.first(model.padding),
                model.map_size(self.fine),
                component.costs,
                model.offsets(number),
            )

    def above(self, threshold: float) -> Found:
        """Return the placements that score more, of each place of a root the best component's."""
        best = self.scores.max(0)
        y, x = np.nonzero(best > threshold - _ROUNDING)
        found = self.placements(self.scores[:, y, x].argmax(0), np.stack([y, x], axis=1))
        return found.part(found.scores > threshold)

    def placements(self, components: Array, roots: Array) -> Found:
        """Return the placements of (N,) components with their roots at (N, 2) places."""
        found = [Found.none(len(self.model.components[0].parts))]
        for number in np.unique(components).tolist():
            own = roots[components == number]
            found.append(placed(self.model, number, self.level, self.fine, own, self._places(number, own)))
        return together(found)

    def _places(self, number: int, roots: Array) -> Array:
        """Return the (N, P, 2) places of the parts of (N, 2) roots."""
        offsets, component = self.model.offsets(number), self.model.components[number]
        places, parts = np.empty((len(roots), len(offsets), 2), np.int64), self._parts[number]
        if parts is not None and self.fine is not None:
            maps = parts.maps(self.model.map_size(self.fine), self.model.padding)
            find_places(maps, component.costs, offsets, roots, places)
        return places


def search(
    image: Array, pyramid: FeaturePyramid, models: Sequence[ClassModel], num_threads: int
) -> list[Found]:
    """Return all placements of each class's models whose score is above its threshold, best first.

    Of equal scores the finer level comes first, then the one further left, then the upper one.

    Args:
        image: (H, W, 3) uint8 RGB.
        pyramid: the sizes that are looked at, an octave at a time: parts are found an octave below roots.
        models: the classes.
        num_threads: how many maps are scored at a time.
    """
    large = image.shape[0] * image.shape[1] > _LARGE_PX
    found = dict[int, list[Found]]()

    def look(phase: int) -> None:
        torch.set_num_threads(1)  # of this thread
        found[phase] = _search_phase(pyramid.levels(image, phase), models)

    with number_kept(), torch.inference_mode(), torch.autocast("cpu", enabled=False):
        run_all(look, range(pyramid.interval), 1 if large else num_threads)
    return [together([found[phase][label] for phase in sorted(found)]) for label in range(len(models))]


def _search_phase(levels: Sequence[Level], models: Sequence[ClassModel]) -> list[Found]:
    """Return the placements of each class at levels of one phase of the pyramid."""
    num_parts = len(models[0].components[0].parts)
    found: list[list[Found]] = [[] for _ in models]
    for level, fine in levels_of_roots(levels, num_parts):
        finest = level if fine is None else fine
        for group in _groups(models, finest.features.shape, num_parts):
            for place, own in zip(group, _search([models[n] for n in group], level, fine), strict=True):
                found[place].append(own)
    return [together(own) for own in found]


def levels_of_roots(levels: Sequence[Level], num_parts: int) -> Iterator[tuple[Level, Level | None]]:
    """Yield levels where roots may be, with those of their parts, an octave below; None without parts."""
    if num_parts:
        yield from ((level, fine) for fine, level in itertools.pairwise(levels))
    else:
        yield from ((level, None) for level in levels)


def _groups(models: Sequence[ClassModel], shape: tuple[int, ...], num_parts: int) -> Iterator[list[int]]:
    """Yield places of models whose responses fit into memory together, at least one at a time."""
    group, held = list[int](), 0
    for place, model in enumerate(models):
        own = (shape[0] + 1) * (shape[1] + 1) * len(model.components) * max(num_parts, 1)
        if group and held + own > _MOST_RESPONSES:
            yield group
            group, held = [], 0
        group.append(place)
        held += own
    yield group


def _search(models: Sequence[ClassModel], level: Level, fine: Level | None) -> Iterator[Found]:
    """Yield the placements of each class at one level."""
    if fine is not None and models[0].projection is not None:
        yield from search_in_stages(models, level, fine)
        return
    for model, maps in zip(models, score_maps(models, level, fine), strict=True):
        yield maps.above(model.threshold)


def score_maps(models: Sequence[ClassModel], level: Level, fine: Level | None) -> Iterator[ScoreMaps]:
    """Yield the scores of the components of each class at one level.

    Args:
        models: the classes.
        level: of the roots.
        fine: of the parts, an octave below; None where the models have no parts.
    """
    components = [component for model in models for component in model.components]
    roots = iter(respond([component.root[None] for component in components], level))
    parts = iter(respond([component.parts for component in components], fine) if fine else ())
    for model in models:
        maps = ScoreMaps(model, level, fine)
        for number in range(len(model.components)):
            maps.fill(number, next(roots), next(parts, None))
        yield maps
