"""What a DPM's training begins with: groups of objects by shape, sides that they face, and parts of a root.

As in the authors' release 5.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.models.hog.dpm_features import MIRRORED, dpm_features

Array = NDArray[Any]

PART_LENGTH = 0.1
"""Norm of a part's filter in the beginning."""

DEFORMATION = PART_LENGTH * np.array([0.1, 0.0, 0.1, 0.0])
"""Cost of moving in the beginning."""

_BINS = np.arange(-100, 101)  # of log(height / width), 50 to one
_SMOOTH = np.exp(-(_BINS**2) / 400.0)
_SMALL = 0.2  # this share of the objects may be smaller than the root
_TRIES, _SWAPS = 25, 10  # of splitting objects by the side they face
_RETRIES, _MOVES = 10, 1000  # of placing parts


def shape_groups(boxes: Array, num_groups: int) -> list[tuple[float, float]]:
    """Return the least height over width of each of equally large groups of boxes, and that of the next one.

    Boxes of one shape stay together: where many are, there are fewer groups.

    Args:
        boxes: (N, 4), at least one.
        num_groups: most groups.

    Example:
        >>> shape_groups(np.array([[0, 0, 10, 20], [0, 0, 20, 10], [0, 0, 10, 10.0]]), 2)
        [(0.5, 2.0), (2.0, inf)]
    """
    shapes = np.sort(shapes_of(boxes))
    starts = shapes[
        [-(-number * len(shapes) // num_groups) for number in range(min(num_groups, len(shapes)))]
    ]
    least = np.unique(starts).tolist()
    return list(zip(least, [*least[1:], np.inf], strict=True))


def shapes_of(boxes: Array) -> Array:
    """Return the (N,) heights over widths of boxes."""
    sides = boxes[:, 2:] - boxes[:, :2]
    shapes: Array = sides[:, 1] / sides[:, 0]
    return shapes


def root_size(boxes: Array, cell_px: int, area_px: tuple[float, float]) -> tuple[int, int]:
    """Return the rows and columns of a root filter: the commonest shape of boxes, and the area of small ones.

    Args:
        boxes: (N, 4), at least one.
        cell_px: side of a cell.
        area_px: smallest and largest area.

    Example:
        >>> root_size(np.array([[0, 0, 40, 80.0]] * 5), 8, (3000, 5000))
        (10, 5)
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    bins = np.clip(np.round(np.log(sides[:, 1] / sides[:, 0]) * 50).astype(int), _BINS[0], _BINS[-1])
    counts = np.bincount(bins - _BINS[0], minlength=len(_BINS))
    shape = np.exp(_BINS[np.convolve(counts, _SMOOTH, "same").argmax()] / 50)
    areas = np.sort(sides.prod(axis=1))
    area = np.clip(areas[max(int(len(areas) * _SMALL) - 1, 0)], *area_px)
    width = np.sqrt(area / shape)
    rows, columns = (max(int(side / cell_px + 0.5), 1) for side in (width * shape, width))
    return rows, columns


def warped(image: Array, box: Array, root: tuple[int, int], cell_px: int) -> NDArray[np.float32]:
    """Return the (rows, columns, 32) features of an object, warped to the size of a root filter.

    The object is cut out with one cell around it, which features need; pixels beyond the image are those of
    its border.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) of the object in pixels.
        root: rows and columns.
        cell_px: side of a cell.
    """
    height, width = ((side + 2) * cell_px for side in root)
    around = (box[2:] - box[:2]) / np.array(root[::-1])
    x1, y1, x2, y2 = np.floor(np.concatenate([box[:2] - around, box[2:] + around]) + 0.5).astype(int)
    rows, columns = (
        np.clip(np.arange(first, max(last, first + 1)), 0, most - 1)
        for first, last, most in ((y1, y2, image.shape[0]), (x1, x2, image.shape[1]))
    )
    cut = np.ascontiguousarray(image[rows[:, None], columns])
    smaller = cut.shape[0] > height or cut.shape[1] > width
    resized = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    [features] = dpm_features(resized, cell_px)
    return features


def mirrored(features: Array) -> Array:
    """Return (..., rows, columns, 32) features of the mirrored image."""
    return features[..., ::-1, :][..., MIRRORED]


def faces_left(features: Array, chance: np.random.Generator) -> Array:
    """Return which of N objects are to be mirrored, so that all face one side.

    Each object and its mirror image go into different ones of two groups, so that each group is as much
    alike as can be: greedily in a random order, then by swaps; the best of 25 tries.

    Args:
        features: (N, rows, columns, 32) of at least one object.
        chance: source of the orders.
    """
    as_is = features.reshape(len(features), -1).astype(np.float64)
    turned = mirrored(features).reshape(len(features), -1).astype(np.float64)
    best, least = np.zeros(len(features), np.bool_), np.inf
    for _ in range(_TRIES):
        found, scatter = _split(as_is, turned, chance)
        if scatter < least:
            best, least = found, scatter
    return best


def _split(as_is: Array, turned: Array, chance: np.random.Generator) -> tuple[Array, float]:
    """Return which examples are turned to form one group, and its scatter, which is the other's, too."""
    order = chance.permutation(len(as_is))
    turn = np.zeros(len(as_is), np.bool_)
    total = as_is[order[0]].copy()
    for done, each in enumerate(order[1:], start=1):
        turn[each] = _is_nearer(turned[each], as_is[each], total / done)
        total += turned[each] if turn[each] else as_is[each]
    for _ in range(_SWAPS if len(as_is) > 1 else 0):
        before = turn.copy()
        for each in chance.permutation(len(as_is)):
            total -= turned[each] if turn[each] else as_is[each]
            turn[each] = _is_nearer(turned[each], as_is[each], total / (len(as_is) - 1))
            total += turned[each] if turn[each] else as_is[each]
        if (turn == before).all():
            break
    chosen = np.where(turn[:, None], turned, as_is)
    return turn, float(((chosen - chosen.mean(axis=0)) ** 2).sum())


def _is_nearer(one: Array, other: Array, middle: Array) -> bool:
    return bool(((one - middle) ** 2).sum() < ((other - middle) ** 2).sum())


def parts_of_root(
    root: Array, num_parts: int, size: tuple[int, int], chance: np.random.Generator
) -> tuple[Array, Array]:
    """Return the anchors and filters of parts that cover a root filter's energy at twice its resolution.

    The energy of a cell is the sum of the squares of its positive weights. Parts are placed greedily, each
    where most energy is left, and then one at a time, at random, anew, until none moves; the best of ten such
    arrangements is kept.

    Args:
        root: (rows, columns, 32) filter.
        num_parts: P.
        size: rows and columns of a part.
        chance: source of the orders.

    Returns:
        (P, 2) x and y of each in cells of half the size, and (P, rows, columns, 32) filters of norm 0.1.
    """
    rows, columns = (max(2 * side, least) for side, least in zip(root.shape, size, strict=False))
    fine = _enlarged(root, (rows, columns))
    energy = (np.maximum(fine, 0) ** 2).sum(-1)
    greedy, left = np.zeros((num_parts, 2), np.int64), energy.copy()
    for part in range(num_parts):
        greedy[part] = _richest(left, size)
        _zero(left, greedy[part], size)
    best, most = greedy, -np.inf
    for _ in range(_RETRIES):
        places = _relaxed(energy, greedy, size, chance)
        covered = _covered(energy, places, size)
        if covered > most:
            best, most = places, covered
    filters = np.stack([_at(fine, place, size) for place in best])
    lengths = np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True))
    return best[:, ::-1].copy(), PART_LENGTH * filters / (lengths + np.finfo(np.float64).eps)


def _enlarged(root: Array, size: tuple[int, int]) -> Array:
    """Return a filter of (rows, columns), cubic between the given cells."""
    channels = [
        cv2.resize(np.ascontiguousarray(channel), size[::-1], interpolation=cv2.INTER_CUBIC)
        for channel in np.moveaxis(root.astype(np.float64), -1, 0)
    ]
    return np.stack(channels, axis=-1)


def _at(cells: Array, place: Array, size: tuple[int, int]) -> Array:
    y, x = place
    return cells[y : y + size[0], x : x + size[1]]


def _zero(energy: Array, place: Array, size: tuple[int, int]) -> None:
    _at(energy, place, size)[:] = 0


def _richest(energy: Array, size: tuple[int, int]) -> tuple[int, int]:
    """Return the y and x of the window with the largest sum, of equal ones the first down the columns."""
    sums = np.pad(energy, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    windows = sums[size[0] :, size[1] :] - sums[: -size[0], size[1] :]
    windows = windows - sums[size[0] :, : -size[1]] + sums[: -size[0], : -size[1]]
    x, y = np.unravel_index(windows.T.argmax(), windows.T.shape)
    return int(y), int(x)


def _relaxed(energy: Array, places: Array, size: tuple[int, int], chance: np.random.Generator) -> Array:
    """Return an arrangement in which no part would move if it were placed anew."""
    places, moving = places.copy(), np.ones(len(places), np.bool_)
    for _ in range(_MOVES):
        if not moving.any():
            break
        part, left = int(chance.integers(len(places))), energy.copy()
        for other in range(len(places)):
            if other != part:
                _zero(left, places[other], size)
        place = np.array(_richest(left, size))
        moving[part] = bool((place != places[part]).any())
        places[part] = place
    return places


def _covered(energy: Array, places: Array, size: tuple[int, int]) -> float:
    """Return the sum of the squares of the energy that an arrangement covers, as release 5 compares them."""
    covered = np.zeros(energy.shape, np.bool_)
    for place in places:
        _at(covered, place, size)[:] = True
    return float((energy[covered] ** 2).sum())
