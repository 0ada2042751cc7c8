"""Where star models are in training images: at the objects, and where none should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.data.loading.samples import DetectionDataset, Key
from detkit.detectors.dpm.first_filters import shapes_of
from detkit.detectors.dpm.placements import ClassModel, Found
from detkit.detectors.dpm.search import levels_of_roots, score_maps
from detkit.detectors.dpm.weights import StarWeights
from detkit.models.assignment import CROWD_IOU
from detkit.models.hog.feature_pyramid import FeaturePyramid, Level
from detkit.runtime.compiled import run_all
from detkit.runtime.threads import number_kept
from detkit.structures import Target
from detkit.training.staged.decision import negatives_of_classes

Array = NDArray[Any]
Result = TypeVar("Result")

HARD_ABOVE = -1.002
"""Score of a placement that is a hard negative."""

_MARGIN = 0.5  # of a crop around objects, in sides of the largest
_AT_A_TIME = 8  # images


class PlacedObject(NamedTuple):
    """The best placement of an object.

    Attributes:
        star: which of the star models it is of.
        features: (D,) float32.
        score: its own.
        side: 1 for a placement of the mirror image, otherwise 0.
        filters: (1 + P, 4) boxes of root and parts in pixels of the crop.
        box: (4,) of the object in pixels of the crop.
        size: height and width of the crop.
    """

    star: int
    features: NDArray[np.float32]
    score: float
    side: int
    filters: Array
    box: Array
    size: tuple[int, int]


class Negatives(NamedTuple):
    """Placements of one star model where no object of the class is.

    Attributes:
        star: which model.
        features: (N, D) float32.
        examples: (N,) int64 which root's place of which image each belongs to.
        scores: (N,) float64.
    """

    star: int
    features: NDArray[np.float32]
    examples: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class ClassImages:
    """The training images, for one class.

    Attributes:
        images: as a test sees them.
        label: the class.
        num_classes: K.
        pyramid: the sizes that are looked at.
        min_iou: an object's placement overlaps it by so much.
        negative_iou: a placement is a negative below this IoU with each object of the class; None leaves
            images with such objects out.
        hard_per_image: most negatives of an image, the best.
        num_threads: images at a time.
        shapes: height over width that objects have at least, and are below.
        most: images with objects to learn from; None is all.
    """

    images: DetectionDataset
    label: int
    num_classes: int
    pyramid: FeaturePyramid
    min_iou: float
    negative_iou: float | None
    hard_per_image: int
    num_threads: int
    shapes: tuple[float, float] = (0.0, np.inf)
    most: int | None = None

    def with_objects(self) -> list[int]:
        """Return the images that have objects to learn from, or of too many some at equal distances."""
        targets = map(self.images.index.target, range(len(self.images)))
        found = [image for image, target in enumerate(targets) if self._chosen(target).any()]
        if self.most is None or len(found) <= self.most:
            return found
        return [found[place * len(found) // self.most] for place in range(self.most)]

    def with_negatives(self) -> list[int]:
        """Return the images that negatives are taken from."""
        every = range(len(self.images))
        if self.negative_iou is not None:
            return list(every)
        return [image for image in every if self.label not in self.images.index.target(image).labels]

    def objects(self, image: int) -> tuple[Array, Array]:
        """Return the (H, W, 3) pixels of an image, and the (M, 4) boxes of its objects to learn from."""
        pixels, target = self._read(image)
        return pixels, target.boxes[self._chosen(target)].numpy().astype(np.float64)

    def of_all(self, images: Sequence[int], work: Callable[[int], Result]) -> Iterator[Result]:
        """Yield what `work` returns for each image, in order, several at a time."""
        found: dict[int, Result] = {}

        def one(image: int) -> None:
            torch.set_num_threads(1)  # of this thread
            with torch.inference_mode():
                found[image] = work(image)

        for start in range(0, len(images), _AT_A_TIME):
            group = images[start : start + _AT_A_TIME]
            with number_kept():
                run_all(one, group, self.num_threads)
            yield from (found.pop(image) for image in group)

    def positives(self, stars: Sequence[StarWeights], image: int) -> list[PlacedObject]:
        """Return the best placement of each object of an image; small objects, and those without, have none.

        The image is cropped around its objects. An object whose area is below that of the smallest root in
        cells of half the size is small.
        """
        pixels, boxes = self.objects(image)
        crop, boxes = _cropped(pixels, boxes)
        model = class_model(stars)
        smallest = min(rows * columns for rows, columns in (star.root for star in stars))
        large = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) >= smallest * (self.pyramid.cell_px / 2) ** 2
        boxes = boxes[large]
        best: list[tuple[Found, Level, Level | None] | None] = [None] * len(boxes)
        size = crop.shape[0], crop.shape[1]
        for level, fine in self._levels(crop, stars):
            over = [
                overlaps(model, number, level, boxes, size) >= self.min_iou
                for number in range(len(model.components))
            ]
            if not any(places.any() for places in over):
                continue
            [maps] = score_maps([model], level, fine)
            for place in range(len(boxes)):
                allowed = np.stack([places[place] for places in over])
                scores = np.where(allowed, maps.scores, -np.inf)
                number, y, x = np.unravel_index(scores.argmax(), scores.shape)
                known = best[place]
                if scores[number, y, x] == -np.inf:
                    continue
                found = maps.placements(np.array([number]), np.array([[y, x]]))
                if known is None or found.scores[0] > known[0].scores[0]:
                    best[place] = found, level, fine
        return [
            _positive(stars, model, *known, box, size)
            for known, box in zip(best, boxes, strict=True)
            if known is not None
        ]

    def negatives(self, stars: Sequence[StarWeights], image: int) -> list[Negatives]:
        """Return the hard negatives of an image, the best ones, for each star model that has some."""
        pixels, target = self._read(image)
        model = class_model(stars)
        found: list[tuple[Found, Level, Level | None]] = []
        for level, fine in self._levels(pixels, stars):
            [maps] = score_maps([model], level, fine)
            above = maps.above(HARD_ABOVE)
            found.append((above.part(self._is_negative(above.filters[:, 0], target)), level, fine))
        scores = np.concatenate([own.scores for own, *_ in found]) if found else np.zeros(0)
        worst = np.sort(np.argsort(-scores, kind="stable")[: self.hard_per_image])
        mined, end = list[Negatives](), 0
        for own, level, fine in found:
            start, end = end, end + len(own)
            kept = own.part(worst[(worst >= start) & (worst < end)] - start)
            mined += _described(stars, model, kept, level, fine, image)
        return mined

    def random_negatives(
        self, star: StarWeights, image: int, count: int, chance: np.random.Generator
    ) -> Negatives:
        """Return windows of a root at random places of random levels of an image.

        Args:
            star: a model without parts.
            image: which one.
            count: so many are drawn; those that overlap an object are left out.
            chance: source of the places.
        """
        pixels, target = self._read(image)
        model = class_model([star])
        rows, columns = star.root
        inside = [
            level
            for level, _ in self._levels(pixels, [star])
            if level.features.shape[0] >= rows and level.features.shape[1] >= columns
        ]
        chosen = chance.integers(len(inside), size=count) if inside else np.zeros(0, np.int64)
        features, taken = [np.zeros((0, len(star.values)), np.float32)], 0
        for which in np.unique(chosen).tolist():
            level = inside[which]
            room = np.array(level.features.shape[:2], np.int64) - (rows, columns)
            roots = chance.integers(0, room + 1, (int((chosen == which).sum()), 2)) + model.padding + 1
            found = _roots_at(roots, level, model)
            found = found.part(self._is_negative(found.filters[:, 0], target))
            features.append(star.features(found, level, None, 0, model.padding))
            taken += len(found)
        numbers = np.stack([np.full(taken, _RANDOM), np.arange(taken), np.zeros(taken)], axis=1)
        return Negatives(0, np.concatenate(features), _numbers(image, numbers), np.zeros(taken))

    def _read(self, image: int) -> tuple[Array, Target]:
        sample = self.images[Key(0, image)]
        return sample.image.permute(1, 2, 0).contiguous().numpy(), sample.target

    def _chosen(self, target: Target) -> Array:
        chosen: Array = ((target.labels == self.label) & ~(target.difficult | target.crowd)).numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            shapes = shapes_of(target.boxes.numpy().astype(np.float64))
        return chosen & (shapes >= self.shapes[0]) & (shapes < self.shapes[1])

    def _levels(self, pixels: Array, stars: Sequence[StarWeights]) -> Iterator[tuple[Level, Level | None]]:
        """Yield all levels where roots may be, with those of their parts."""
        num_parts = stars[0].num_parts
        for phase in range(self.pyramid.interval):
            for level, fine in levels_of_roots(self.pyramid.levels(pixels, phase), num_parts):
                # Without parts, as release 5, roots are kept out of the octave that is made for these.
                if level.octave > 0 and level.features.size:
                    yield level, fine

    def _is_negative(self, boxes: Array, target: Target) -> Array:
        negative = negatives_of_classes(
            torch.from_numpy(boxes).float(),
            target,
            self.num_classes,
            below_iou=1.0 if self.negative_iou is None else self.negative_iou,
            crowd_iou=CROWD_IOU,
        )
        of_class: Array = negative[:, self.label].numpy()
        return of_class


_RANDOM = 255  # no level


def class_model(stars: Sequence[StarWeights]) -> ClassModel:
    """Return star models as they are looked for, each followed by its mirror image where it has one."""
    return ClassModel([component for star in stars for component in star.components()], -np.inf)


def overlaps(
    model: ClassModel, number: int, level: Level, boxes: Array, size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the (M, rows, columns) IoU of M boxes with a component's root at each place of a padded level.

    Args:
        model: the class.
        number: of the component.
        level: of the roots.
        boxes: (M, 4) in pixels.
        size: height and width of the image, beyond which nothing of a root counts.
    """
    inside, sides = [], []
    for axis in (0, 1):  # y, x
        first = (np.arange(model.map_size(level)[axis]) - model.padding[axis]) * level.cell_px
        last = first + model.components[number].root.shape[axis] * level.cell_px
        first, last = np.clip(first, 0, size[axis]), np.clip(last, 0, size[axis])
        low, high = boxes[:, 1 - axis, None], boxes[:, 3 - axis, None]
        inside.append(np.maximum(np.minimum(last, high) - np.maximum(first, low), 0))
        sides.append(last - first)
    common = inside[0][:, :, None] * inside[1][:, None]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = areas[:, None, None] + sides[0][:, None] * sides[1] - common
    found: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found


def _roots_at(roots: Array, level: Level, model: ClassModel) -> Found:
    """Return placements, without scores, of the first component's root at (N, 2) places of a padded level."""
    corners = (roots - model.padding)[:, ::-1] * level.cell_px
    sides = np.array(model.components[0].root.shape[1::-1]) * level.cell_px
    boxes = np.concatenate([corners, corners + sides], axis=1)[:, None]
    places = np.concatenate([np.full((len(roots), 1), level.number), roots], axis=1)
    nothing = np.zeros((len(roots), 0, 2), np.int64)
    return Found(np.zeros(len(roots), np.int64), np.zeros(len(roots)), places, nothing, boxes)


def _cropped(pixels: Array, boxes: Array) -> tuple[Array, Array]:
    """Return an image around its objects, with half of the largest's sides around them, and their boxes."""
    if not len(boxes):
        return pixels, boxes
    margin = _MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(axis=0)
    first = np.maximum(np.floor(boxes[:, :2].min(axis=0) - margin), 0).astype(int)
    last = np.minimum(np.ceil(boxes[:, 2:].max(axis=0) + margin), pixels.shape[1::-1]).astype(int)
    crop = np.ascontiguousarray(pixels[first[1] : last[1], first[0] : last[0]])
    return crop, boxes - np.tile(first, 2)


def _positive(
    stars: Sequence[StarWeights],
    model: ClassModel,
    found: Found,
    level: Level,
    fine: Level | None,
    box: Array,
    size: tuple[int, int],
) -> PlacedObject:
    star, side = star_and_side(stars)[int(found.components[0])]
    features = stars[star].features(found, level, fine, side, model.padding)[0]
    return PlacedObject(star, features, float(found.scores[0]), side, found.filters[0], box, size)


def _described(
    stars: Sequence[StarWeights],
    model: ClassModel,
    found: Found,
    level: Level,
    fine: Level | None,
    image: int,
) -> Iterator[Negatives]:
    for number, (star, side) in enumerate(star_and_side(stars)):
        own = found.part(found.components == number)
        if len(own):
            features = stars[star].features(own, level, fine, side, model.padding)
            yield Negatives(star, features, _numbers(image, own.roots), own.scores)


def star_and_side(stars: Sequence[StarWeights]) -> list[tuple[int, int]]:
    """Return of each component of `class_model` which star model it is of, and which side of it."""
    return [(number, side) for number, star in enumerate(stars) for side in range(star.num_sides)]


def _numbers(image: int, roots: Array) -> NDArray[np.int64]:
    """Return (N,) numbers for (N, 3) levels and places of an image, which no other place has."""
    level, y, x = roots.astype(np.int64).T
    numbers: NDArray[np.int64] = ((np.int64(image) * 256 + level) * 16384 + y) * 16384 + x
    return numbers
