"""Boxes of objects, predicted from where the filters of a star model are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # what trains is not needed for an image
    from detkit.detectors.dpm.examples import PlacedObject
    from detkit.detectors.dpm.weights import StarWeights

Array = NDArray[Any]

_INCLUSIVE = np.array([1, 1, 0, 0])  # pixels are inclusive in release 5: widths are less by one


def clipped(boxes: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Return the boxes that have an area inside an image, clipped to it, and which ones these are."""
    height, width = size
    boxes = np.concatenate([np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:], (width, height))], axis=1)
    inside = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return boxes[inside], inside


def predicted(boxes: Array, filters: Array, prediction: Array) -> Array:
    """Return the boxes of objects as least squares predict them from where the filters are.

    Args:
        boxes: (N, 4) clipped boxes of roots.
        filters: (N, F, 4) boxes of filters.
        prediction: (4, 2 * F + 1), see `Component`.
    """
    moved = _inputs(boxes, filters) @ prediction.T
    found: Array = boxes + moved * _sides(boxes)
    return found


def _inputs(boxes: Array, filters: Array) -> Array:
    """Return (N, 2 * F + 1): where the middles of filters are in (N, 4) boxes of roots, and 1."""
    boxes, filters = boxes + _INCLUSIVE, filters + _INCLUSIVE
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sides / 2
    places = filters[..., :2] + (filters[..., 2:] - filters[..., :2]) / 2
    inside = ((places - centres[:, None]) / sides[:, None]).reshape(len(boxes), 2 * filters.shape[1])
    return np.concatenate([inside, np.ones((len(boxes), 1))], axis=1)


def _sides(boxes: Array) -> Array:
    """Return (N, 4): twice the width and height."""
    return np.tile(boxes[:, 2:] - boxes[:, :2] - 1, 2)


def fit_boxes(
    positives: Sequence[PlacedObject], number: int, star: StarWeights, ridge: float
) -> NDArray[np.float64]:
    """Return the (S, 4, 2 * F + 1) predictions of boxes for the S sides of a star model, by least squares.

    Every object is one of its mirror image as well. Where a side has no objects, the box is the root's.

    Args:
        positives: objects of the class where they were found.
        number: of the star model.
        star: its weights.
        ridge: weight of the coefficients' norm against the squared errors; not of the constant.
    """
    width = 2 * (star.num_parts + 1) + 1
    found = np.zeros((star.num_sides, 4, width))
    for side in range(star.num_sides):
        own = [positive for positive in positives if positive.star == number]
        if star.num_sides == 1:
            own = [positive for positive in own if positive.side == side]
        if not own:
            continue
        examples = [_facing(positive, positive.side != side) for positive in own]
        roots, filters, boxes = (np.stack(values) for values in zip(*examples, strict=True))
        inputs, targets = _inputs(roots, filters), (boxes - roots) / _sides(roots)
        penalty = np.sqrt(ridge) * np.eye(width)[:-1]
        inputs = np.concatenate([inputs, penalty])
        targets = np.concatenate([targets, np.zeros((width - 1, 4))])
        found[side] = np.linalg.lstsq(inputs, targets, rcond=None)[0].T
    return found


def _facing(positive: PlacedObject, turned: bool) -> tuple[Array, Array, Array]:
    """Return the clipped root, the filters and the object of a placement, mirrored where it is turned."""
    height, width = positive.size
    whole = np.concatenate([positive.filters, positive.box[None]])
    root = np.clip(positive.filters[:1], 0, (width, height, width, height))
    whole = np.concatenate([root, whole])
    if turned:
        whole = np.stack([width - whole[:, 2], whole[:, 1], width - whole[:, 0], whole[:, 3]], axis=1)
    return whole[0], whole[1:-1], whole[-1]
