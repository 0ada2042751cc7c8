"""Search over boxes of all places, sizes and shapes, and refinement of the best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.edge_boxes.edge_score import ScoreTables, Scratch, box_score, scratch_for
from detkit.runtime.compiled import compiled

_LEAST_STEP_PX = 2


@dataclass(frozen=True)
class BoxGrid:
    """The boxes evaluated: neighbours overlap by an IoU of `alpha` in place, size and shape.

    Attributes:
        alpha: IoU of neighbours, in (0, 1).
        max_ratio: longest side over shortest, at most.
        min_area_px: area of the smallest boxes.
    """

    alpha: float
    max_ratio: float
    min_area_px: float

    @property
    def step(self) -> float:
        """Distance of neighbours as a fraction of the side."""
        return (1 - self.alpha) / (1 + self.alpha)

    def shapes(self, height: int, width: int) -> NDArray[np.int64]:
        """Return the (S, 2) heights and widths for an image, the smallest first.

        Example:
            >>> BoxGrid(alpha=0.5, max_ratio=2.0, min_area_px=100.0).shapes(20, 20).tolist()
            [[10, 10], [14, 14]]
        """
        side, across = math.sqrt(self.min_area_px), (1 + self.alpha) / (2 * self.alpha)
        num_sizes = max(
            0, math.ceil(math.log(max(height, width) / side) / math.log(math.sqrt(1 / self.alpha)))
        )
        most = int(math.log(self.max_ratio) / (2 * math.log(across)))
        sizes = [
            (side * self.alpha ** (-size / 2), across**shape)
            for size in range(num_sizes)
            for shape in range(-most, most + 1)
        ]
        return np.array([(int(s / shape), int(s * shape)) for s, shape in sizes], np.int64).reshape(-1, 2)


def search(
    tables: ScoreTables, grid: BoxGrid, *, kappa: float, min_score: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Score the boxes of a grid and refine those that have a score.

    Args:
        tables: of the image.
        grid: the boxes.
        kappa: how much the size of a box counts.
        min_score: boxes of lower scores are left out.

    Returns:
        (B, 4) row and column of the first pixel, row and column after the last; (B,) scores.

    Example:
        >>> from detkit.proposals.edge_boxes.edge_groups import affinities, group_edges
        >>> from detkit.proposals.edge_boxes.edge_map import EdgeMap
        >>> from detkit.proposals.edge_boxes.edge_score import score_tables
        >>> magnitude, across = np.zeros((2, 20, 20), np.float32)
        >>> magnitude[5:15, [5, 14]] = 1
        >>> edges = EdgeMap(magnitude, across)
        >>> groups = group_edges(edges, min_edge=0.1, max_turn=0.5, min_mass=0.5)
        >>> tables = score_tables(magnitude, groups, affinities(groups, gamma=2.0), min_edge=0.1)
        >>> grid = BoxGrid(alpha=0.65, max_ratio=1.0, min_area_px=150.0)
        >>> boxes, scores = search(tables, grid, kappa=1.5, min_score=0.01)
        >>> boxes[scores.argmax()], scores.max().round(2)  # it encloses both strokes of 10 pixels
        (array([ 4,  4, 16, 16]), np.float64(0.48))
    """
    height, width = tables.rows.members.shape
    boxes = _place(grid.shapes(height, width), grid.step, height, width)
    scores = _look(tables, scratch_for(len(tables.masses)), boxes, grid.step, kappa, min_score)
    found = scores > 0
    return boxes[found], scores[found]


@compiled
def _place(shapes: NDArray[np.int64], step: float, height: int, width: int) -> NDArray[np.int64]:
    """Return the boxes of given shapes at all places; the last of a row or column are cut to the image."""
    count = 0
    for tall, wide in shapes:
        down, across = max(_LEAST_STEP_PX, int(tall * step)), max(_LEAST_STEP_PX, int(wide * step))
        count += _num_places(height, tall, down) * _num_places(width, wide, across)
    boxes = np.empty((count, 4), dtype=np.int64)
    num = 0
    for tall, wide in shapes:
        down, across = max(_LEAST_STEP_PX, int(tall * step)), max(_LEAST_STEP_PX, int(wide * step))
        for j in range(_num_places(width, wide, across)):
            for i in range(_num_places(height, tall, down)):
                boxes[num] = (i * down, j * across, i * down + tall, j * across + wide)
                num += 1
    boxes[:, 2] = np.minimum(boxes[:, 2], height)
    boxes[:, 3] = np.minimum(boxes[:, 3], width)
    return boxes


@compiled
def _num_places(room: int, side: int, step: int) -> int:
    """Return how many boxes begin at 0, step, 2 step, ... to the first that reaches the border."""
    return 0 if side > room + step else 1 + max(0, -((side - room) // step))


@compiled
def _look(
    tables: ScoreTables,
    scratch: Scratch,
    boxes: NDArray[np.int64],
    step: float,
    kappa: float,
    least: float,
) -> NDArray[np.float64]:
    """Return the scores of boxes, and refine those that have one in place."""
    scores = np.empty(len(boxes))
    for number in range(len(boxes)):
        top, left, bottom, right = boxes[number]
        score = box_score(tables, scratch, (top, left, bottom, right), kappa, least)
        if score > 0:
            score = _refine(tables, scratch, boxes[number], score, step, kappa, least)
        scores[number] = score
    return scores


@compiled
def _refine(
    tables: ScoreTables,
    scratch: Scratch,
    box: NDArray[np.int64],
    score: float,
    step: float,
    kappa: float,
    least: float,
) -> float:
    """Move the sides of a box one by one while that raises its score, by half as much in every round.

    Top, bottom, left, right; each up or to the left first, and the other way where that is not better.
    Rounds end when both steps are at most 2 pixels.
    """
    height, width = tables.rows.members.shape
    down, across = (box[2] - box[0]) * step / 2, (box[3] - box[1]) * step / 2
    while down > _LEAST_STEP_PX or across > _LEAST_STEP_PX:
        for side in (0, 2, 1, 3):
            by = max(1, int(down if side % 2 == 0 else across))
            end = height if side % 2 == 0 else width
            for offset in (-by, by):
                before = box[side]
                box[side] = min(max(before + offset, 0), end)
                moved = box_score(tables, scratch, (box[0], box[1], box[2], box[3]), kappa, least)
                if moved > score:
                    score = moved
                    break
                box[side] = before
        down, across = down / 2, across / 2
    return score
