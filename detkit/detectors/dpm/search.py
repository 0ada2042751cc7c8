"""The search for star models in a pyramid: the best parts of every root, by dynamic programming.

Felzenszwalb et al., PAMI 2010, section 3; ranges, padding and order as in the authors' release 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from detkit.detectors.dpm.stars import Component
from detkit.models.hog.pyramid import FeaturePyramid, Level
from detkit.ops.kernels.star_loops import add_parts, fill_scores, find_places
from detkit.runtime.compiled import run_all
from detkit.runtime.threads import number_kept

Array = NDArray[Any]

_ROUNDING = 1e-4  # a score in float32 is nearer than that to the one in float64
_LARGE_PX = 4_000_000  # of one phase of the pyramid, hundreds of bytes for each pixel are in use
_MOST_RESPONSES = 40_000_000  # in memory together, with what is made of them three times as many numbers


@dataclass(frozen=True)
class Found:
    """Placements of a class's models in an image, best first.

    Attributes:
        components: (N,) int64 which of the class's components.
        scores: (N,) float64.
        roots: (N, 3) int64 level, y and x of the root in the padded map of that level.
        filters: (N, 1 + P, 4) float64 boxes of root and parts, in pixels.
    """

    components: Array
    scores: Array
    roots: Array
    filters: Array

    def __len__(self) -> int:
        return len(self.scores)

    def part(self, which: Array) -> Found:
        """Return some of them: their places in order, or whether each is one."""
        return Found(self.components[which], self.scores[which], self.roots[which], self.filters[which])


@dataclass(frozen=True)
class ClassModel:
    """The components of a class and what they need around an image.

    Attributes:
        components: all of them, with equal numbers of parts of one size.
        threshold: least score that is no detection.
    """

    components: Sequence[Component]
    threshold: float

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

    def map_size(self, level: Level) -> tuple[int, int]:
        """Return rows and columns of a map of scores."""
        rows, columns = (
            side + 2 * (pad + 1) - least + 1
            for side, pad, least in zip(level.features.shape[:2], self.padding, self.smallest, strict=True)
        )
        return max(rows, 0), max(columns, 0)


@dataclass(frozen=True)
class Responses:
    """Responses of filters of one size to a level.

    Only where a filter touches the image is there something to compute: beyond, its response is the sum of
    its weights for cells outside.

    Attributes:
        size: rows and columns of the filters.
        values: (F, H, W) float32 wherever they touch the image.
        outside: (F,) float32 responses elsewhere.
    """

    size: tuple[int, int]
    values: Array
    outside: Array

    @staticmethod
    def of(filters: Array, level: Level) -> Responses:
        """Return the responses of (F, rows, columns, 32) float32 filters."""
        rows, columns = filters.shape[1:3]
        height, width = level.features.shape[:2]
        shape = height + 2 * (rows - 1), width + 2 * (columns - 1)
        image = np.zeros((1, *shape, filters.shape[3]), np.float32)
        image[..., -1] = 1
        image[0, rows - 1 : rows - 1 + height, columns - 1 : columns - 1 + width] = level.features
        # Channels come last in both, which oneDNN multiplies as they are.
        inputs, weights = (torch.from_numpy(given).permute(0, 3, 1, 2) for given in (image, filters))
        values = F.conv2d(inputs, weights)
        return Responses((rows, columns), values[0].numpy(), filters[..., -1].sum((1, 2)))

    def part(self, which: slice) -> Responses:
        """Return the responses of some of the filters."""
        return Responses(self.size, self.values[which], self.outside[which])

    def maps(self, size: tuple[int, int], padding: tuple[int, int]) -> Array:
        """Return the (F, H, W) responses in the whole padded level.

        Args:
            size: H and W of the maps; -inf where a filter would reach beyond the padding.
            padding: rows and columns of cells around the image, but for one more.
        """
        # Where the first one is that touches the image; before the map, it is cut.
        first = [pad + 2 - side for pad, side in zip(padding, self.size, strict=True)]
        rows, columns = (max(n + 2 * start, 0) for n, start in zip(self.values.shape[1:], first, strict=True))
        whole = np.full((len(self.values), *size), -np.inf, np.float32)
        whole[:, :rows, :columns] = self.outside[:, None, None]
        (top, left), (cut_y, cut_x) = ([max(sign * start, 0) for start in first] for sign in (1, -1))
        values = self.values[:, cut_y : self.values.shape[1] - cut_y, cut_x : self.values.shape[2] - cut_x]
        whole[:, top : top + values.shape[1], left : left + values.shape[2]] = values
        return whole


def respond(filters: Sequence[Array], level: Level) -> list[Responses]:
    """Return the responses of each of several stacks of filters; those of one size are made together."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, own in enumerate(filters):
        by_size.setdefault(own.shape[1:], []).append(place)
    found: dict[int, Responses] = {}
    for places in by_size.values():
        responses = Responses.of(np.concatenate([filters[place] for place in places]), level)
        ends = np.cumsum([len(filters[place]) for place in places])
        for place, end in zip(places, ends, strict=True):
            found[place] = responses.part(slice(end - len(filters[place]), end))
    return [found[place] for place in range(len(filters))]


class _ScoreMaps:
    """Scores of the components of a class at one level, and where their parts are.

    Args:
        model: the class.
        level: of the roots.
        fine: of the parts, an octave below; None where the models have no parts.
    """

    def __init__(self, model: ClassModel, level: Level, fine: Level | None) -> None:
        self.model, self.level, self.fine = model, level, fine
        self._scores = np.empty((len(model.components), *model.map_size(level)))
        self._parts = [np.zeros((0, 0, 0), np.float32)] * len(model.components)

    def fill(self, number: int, roots: Responses, parts: Responses | None) -> None:
        """Take in the responses of a component's root and of its parts."""
        model, level = self.model, self.level
        component, scores = model.components[number], self._scores[number]
        scores[:] = roots.maps(model.map_size(level), model.padding)[0]
        scores += component.offset + component.location_at(level.octave)
        if parts is not None and self.fine is not None:
            self._parts[number] = parts.maps(model.map_size(self.fine), model.padding)
            add_parts(scores, self._parts[number], component.costs, self._offsets(number))

    def found(self) -> Found:
        """Return the placements above the threshold, down each column."""
        best = self._scores.max(0)
        y, x = np.nonzero(best > self.model.threshold - _ROUNDING)
        components = self._scores[:, y, x].argmax(0)
        filters = np.empty((len(x), 1 + len(self.model.components[0].parts), 4))
        scores, places = np.empty(len(x)), np.stack([y, x], axis=1)
        for number in np.unique(components):
            own = components == number
            scores[own], filters[own] = self._placed(number, places[own])
        roots = np.stack([np.full(len(x), self.level.number), y, x], axis=1)
        return Found(components, scores, roots, filters).part(scores > self.model.threshold)

    def _offsets(self, number: int) -> Array:
        return self.model.components[number].anchors[:, ::-1] - self.model.padding

    def _placed(self, number: int, roots: Array) -> tuple[Array, Array]:
        """Return the (N,) scores of placements, summed in float64, and the (N, 1 + P, 4) boxes of filters."""
        component, padding, level = self.model.components[number], self.model.padding, self.level
        own = roots[:, None] - padding
        scores = scores_at(level.features, component.root[None], own - 1).sum(1)
        scores += component.offset + component.location_at(level.octave)
        boxes = [_boxes(own, component.root.shape, level.cell_px)]
        if self.fine is not None:
            offsets = self._offsets(number)
            places = np.empty((len(roots), len(offsets), 2), np.int64)
            find_places(self._parts[number], component.costs, offsets, roots, places)
            moved = 2 * roots[:, None] + offsets - places
            costs = component.deformations * np.stack(
                [moved[..., 1] ** 2, moved[..., 1], moved[..., 0] ** 2, moved[..., 0]], axis=-1
            )
            scores += (
                scores_at(self.fine.features, component.parts, places - padding - 1) - costs.sum(-1)
            ).sum(1)
            boxes.append(_boxes(places - padding, component.parts.shape[1:], self.fine.cell_px))
        return scores, np.concatenate(boxes, axis=1)


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
    return [_together([found[phase][label] for phase in sorted(found)]) for label in range(len(models))]


def _search_phase(levels: Sequence[Level], models: Sequence[ClassModel]) -> list[Found]:
    """Return the placements of each class at levels of one phase of the pyramid."""
    num_parts = len(models[0].components[0].parts)
    pairs = itertools.pairwise(levels) if num_parts else ((None, level) for level in levels)
    found: list[list[Found]] = [[] for _ in models]
    for fine, level in pairs:
        finest = level if fine is None else fine
        for group in _groups(models, finest.features.shape, num_parts):
            for place, own in zip(group, _search([models[n] for n in group], level, fine), strict=True):
                found[place].append(own)
    return [_together(own) for own in found]


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
    components = [component for model in models for component in model.components]
    roots = iter(respond([component.root[None] for component in components], level))
    parts = iter(respond([component.parts for component in components], fine) if fine else ())
    for model in models:
        maps = _ScoreMaps(model, level, fine)
        for number in range(len(model.components)):
            maps.fill(number, next(roots), next(parts, None))
        yield maps.found()


def _together(parts: Sequence[Found]) -> Found:
    """Return all of them, best first; of equal scores the finer level, the left and the upper one first."""
    names = ("components", "scores", "roots", "filters")
    whole = Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    level, y, x = whole.roots.T
    return whole.part(np.lexsort((y, x, level, -whole.scores)))
