"""The star-cascade of a trained DPM: few channels, and limits that lose none of the objects learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.dpm.cascade import CascadeStages, stages_of
from detkit.detectors.dpm.examples import PlacedObject
from detkit.detectors.dpm.first_filters import mirrored
from detkit.detectors.dpm.weights import StarWeights
from detkit.ops.kernels.dpm_feature_loops import CHANNELS

Array = NDArray[Any]


def few_channels(maps: Iterable[Array], number: int) -> NDArray[np.float64]:
    """Return the (32, C) projection of features to their principal components and the channel of truncation.

    Args:
        maps: (rows, columns, 32) features of images.
        number: C.
    """
    shape = CHANNELS - 1
    count, total, squares = 0, np.zeros(shape), np.zeros((shape, shape))
    for own in maps:
        cells = own[..., :-1].reshape(-1, shape).astype(np.float64)
        count, total, squares = count + len(cells), total + cells.sum(0), squares + cells.T @ cells
    mean = total / max(count, 1)
    _, directions = np.linalg.eigh(squares / max(count, 1) - np.outer(mean, mean))
    found = np.zeros((CHANNELS, number))
    found[:-1, :-1] = directions[:, ::-1][:, : number - 1]
    found[-1, -1] = 1
    return found


def stages_of_objects(
    objects: Sequence[PlacedObject], number: int, star: StarWeights, projection: Array, threshold: float
) -> CascadeStages:
    """Return the stages of a star model, and of its mirror image, for all its objects from a score on.

    Args:
        objects: of the class, where they were found.
        number: of the star model.
        star: its weights.
        projection: (32, C) to few channels.
        threshold: least score; objects below do not count.
    """
    own = [one.features for one in objects if one.star == number and one.score >= threshold]
    features = np.stack(own).astype(np.float64) if own else np.zeros((0, len(star.values)))
    root, parts, moves, location, bias = star.split(features)
    weights = star.split(star.values)
    cells = [root[:, None], *np.moveaxis(parts, 1, 0)[:, :, None]]
    filters = [weights[0], *weights[1]]
    costs = np.concatenate([np.zeros((len(features), 1)), (moves * weights[2]).sum(-1)], axis=1)
    biases = location @ weights[3] + bias * weights[4]
    coarse, full = list[Array](), list[Array]()
    for turned in range(star.num_sides):
        # In few channels a mirror image has other scores.
        sides = [
            (mirrored(values), mirrored(plane)) if turned else (values, plane)
            for values, plane in zip(cells, filters, strict=True)
        ]
        for scores, wanted in ((full, np.eye(CHANNELS)), (coarse, projection)):
            responses = [_sum((values @ wanted) * (plane @ wanted)) for values, plane in sides]
            scores.append(np.stack([costs, np.stack(responses, axis=1)], axis=-1))
    every = np.tile(biases, star.num_sides)
    return stages_of(np.concatenate(coarse), np.concatenate(full), every, every, threshold)


def _sum(products: Array) -> Array:
    summed: Array = products.sum(axis=tuple(range(1, products.ndim)))
    return summed
