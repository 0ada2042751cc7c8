"""Search over boxes of all places, sizes and shapes, and refinement of the best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.edge_boxes.edge_score import ScoreTables, Scratch, box_score, scratch_for
from detkit.runtime.compiled import compiled

_LEAST_STEP_PX = 2
_ONE = np.float32(1)


@dataclass(frozen=True)
class BoxGrid:
    """The boxes evaluated: neighbours overlap by an IoU of `alpha` in place, size and shape.

    Computed in single precision like the authors' program, for sides and steps are cut to whole pixels.

    Attributes:
        alpha: IoU of neighbours, in (0, 1).
        max_ratio: longest side over shortest, at most.
        min_area_px: area of the smallest boxes.
    """

    alpha: float
    max_ratio: float
    min_area_px: float

    @property
    def step(self) -> np.float32:
        """Distance of neighbours as a fraction of the side."""
        alpha = np.float32(self.alpha)
        return (_ONE - alpha) / (_ONE + alpha)

    def shapes(self, height: int, width: int) -> NDArray[np.int64]:
        """Return the (S, 2) heights and widths for an image, the smallest first.

        Example:
            >>> BoxGrid(alpha=0.5, max_ratio=2.0, min_area_px=100.0).shapes(19, 19).tolist()
            [[10, 10], [14, 14]]
        """
        alpha, least = np.float32(self.alpha), np.float32(math.sqrt(np.float32(self.min_area_px)))
        larger, across = np.float32(math.sqrt(_ONE / alpha)), (_ONE + alpha) / (np.float32(2) * alpha)
        octaves = _log(np.float32(max(height, width)) / least) / _log(larger)
        most = int(_log(np.float32(self.max_ratio)) / _log(across * across))
        sizes = [
            (least * _power(larger, size), _power(across, shape))
            for size in range(max(0, math.ceil(octaves)))
            for shape in range(-most, most + 1)
        ]
        return np.array([(int(s / shape), int(s * shape)) for s, shape in sizes], np.int64).reshape(-1, 2)


def _log(value: np.float32) -> np.float32:
    return np.float32(math.log(value))


def _power(base: np.float32, exponent: int) -> np.float32:
    return np.float32(float(base) ** exponent)


def search(
    tables: ScoreTables, grid: BoxGrid, *, min_score: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Score the boxes of a grid and refine those that have a score.

    Args:
        tables: of the image.
        grid: the boxes.
        min_score: boxes of lower scores are left out.

    Returns:
        (B, 4) rows and columns, top, left, bottom and right, of which all belong to the box; (B,) scores.

    Example:
        >>> from detkit.proposals.edge_boxes.edge_groups import affinities, group_edges
        >>> from detkit.proposals.edge_boxes.edge_map import EdgeMap
        >>> from detkit.proposals.edge_boxes.edge_score import score_tables
        >>> magnitude, across = np.zeros((2, 20, 20), np.float32)
        >>> magnitude[5:15, [5, 14]] = 1
        >>> edges = EdgeMap(magnitude, across)
        >>> groups = group_edges(edges, min_edge=0.1, max_turn=0.5, min_mass=0.5)
        >>> tables = score_tables(magnitude, groups, affinities(groups, gamma=2.0), min_edge=0.1, kappa=1.5)
        >>> grid = BoxGrid(alpha=0.65, max_ratio=1.0, min_area_px=150.0)
        >>> boxes, scores = search(tables, grid, min_score=0.01)
        >>> boxes[scores.argmax()], scores.max().round(2)  # it encloses both strokes of 10 pixels
        (array([ 4,  4, 16, 16]), np.float32(0.48))
    """
    height, width = tables.rows.members.shape
    boxes = _place(grid.shapes(height, width), grid.step, height, width)
    scores = _look(tables, scratch_for(len(tables.masses)), boxes, grid.step, np.float32(min_score))
    found = scores > 0
    return boxes[found], scores[found]


@compiled
def _place(shapes: NDArray[np.int64], step: np.float32, height: int, width: int) -> NDArray[np.int64]:
    """Return the boxes of given shapes at all places; the last of a row or column are cut to the image."""
    count = 0
    for tall, wide in shapes:
        down, across = max(_LEAST_STEP_PX, _step_px(tall, step)), max(_LEAST_STEP_PX, _step_px(wide, step))
        count += _num_places(height, tall, down) * _num_places(width, wide, across)
    boxes = np.empty((count, 4), dtype=np.int64)
    num = 0
    for tall, wide in shapes:
        down, across = max(_LEAST_STEP_PX, _step_px(tall, step)), max(_LEAST_STEP_PX, _step_px(wide, step))
        for j in range(_num_places(width, wide, across)):
            for i in range(_num_places(height, tall, down)):
                boxes[num] = (i * down, j * across, i * down + tall, j * across + wide)
                num += 1
    boxes[:, 2] = np.minimum(boxes[:, 2], height - 1)
    boxes[:, 3] = np.minimum(boxes[:, 3], width - 1)
    return boxes


@compiled
def _step_px(side: int, step: np.float32) -> int:
    return int(np.float32(side) * step)


@compiled
def _num_places(room: int, side: int, step: int) -> int:
    """Return how many boxes begin at 0, step, 2 step, ... to the first that reaches the border."""
    return max(0, 1 - (side - room) // step)


@compiled
def _look(
    tables: ScoreTables, scratch: Scratch, boxes: NDArray[np.int64], step: np.float32, least: np.float32
) -> NDArray[np.float32]:
    """Return the scores of boxes, and refine those that have one in place."""
    scores = np.empty(len(boxes), dtype=np.float32)
    for number in range(len(boxes)):
        top, left, bottom, right = boxes[number]
        score = box_score(tables, scratch, (top, left, bottom, right), least)
        if score > 0:
            score = _refine(tables, scratch, boxes[number], score, step, least)
        scores[number] = score
    return scores


@compiled
def _refine(
    tables: ScoreTables,
    scratch: Scratch,
    box: NDArray[np.int64],
    score: np.float32,
    step: np.float32,
    least: np.float32,
) -> np.float32:
    """Move the sides of a box one by one while that raises its score, by half as much in every round.

    Top, bottom, left, right; each up or to the left first, and the other way where that is not better.
    Steps are whole pixels, and rounds end when both are at most 2.
    """
    height, width = tables.rows.members.shape
    down, across = _step_px(box[2] - box[0], step) // 2, _step_px(box[3] - box[1], step) // 2
    while down > _LEAST_STEP_PX or across > _LEAST_STEP_PX:
        for side in (0, 2, 1, 3):
            by = max(1, down if side % 2 == 0 else across)
            end = height - 1 if side % 2 == 0 else width - 1
            for offset in (-by, by):
                before = box[side]
                box[side] = min(max(before + offset, 0), end)
                moved = box_score(tables, scratch, (box[0], box[1], box[2], box[3]), least)
                if moved > score:
                    score = moved
                    break
                box[side] = before
        down, across = down // 2, across // 2
    return score
