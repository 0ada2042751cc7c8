"""EdgeBoxes: boxes that wholly enclose many contours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.edge_boxes.edge_files import EdgeFiles
from detkit.proposals.edge_boxes.edge_groups import affinities, group_edges
from detkit.proposals.edge_boxes.edge_map import EdgeMap
from detkit.proposals.edge_boxes.edge_score import score_tables
from detkit.proposals.edge_boxes.edge_search import BoxGrid, search
from detkit.proposals.proposals import Proposals
from detkit.runtime.compiled import compiled

_BINS_PER_OCTAVE = 4
_LOOSEST_TIGHTENED = 0.5


@dataclass(frozen=True)
class EdgeBoxes:
    """Scores boxes by the contours they enclose (Zitnick and Dollar, "Edge Boxes", ECCV 2014).

    Attributes:
        edges: takes the (H, W, 3) uint8 RGB pixels and returns the contours, thinned.

    The other attributes are those of `EdgeBoxesConfig`.

    Example:
        >>> from detkit.proposals.builder import build_proposer
        >>> from detkit.proposals.config import EdgeBoxesConfig
        >>> scene = np.full((120, 160, 3), 200, np.uint8)
        >>> scene[30:90, 40:120] = 30, 60, 160
        >>> found = build_proposer(EdgeBoxesConfig())(scene)
        >>> np.abs(found.boxes[0] - [40, 30, 120, 90]).max() < 8
        np.True_
    """

    edges: Callable[[NDArray[np.uint8]], EdgeMap] | EdgeFiles
    alpha: float
    beta: float
    eta: float
    min_score: float
    max_boxes: int | None
    min_edge: float
    max_turn: float
    min_group: float
    max_ratio: float
    min_area_px: float
    gamma: float
    kappa: float

    def __call__(self, image: NDArray[np.uint8]) -> Proposals:
        """Return the boxes of an (H, W, 3) image; none where it has no contours."""
        return self.from_edges(self.edges(image))

    def propose_named(self, image: NDArray[np.uint8], name: str) -> Proposals:
        """Return the boxes of an image whose contours may be looked up by its name."""
        if not isinstance(self.edges, EdgeFiles):
            return self(image)
        height, width = image.shape[:2]
        return self.from_edges(self.edges.named(name, height, width))

    def from_edges(self, edges: EdgeMap) -> Proposals:
        """Return the boxes for contours that are known already.

        Args:
            edges: the contours, thinned (see `EdgeMap.thinned`).
        """
        groups = group_edges(edges, min_edge=self.min_edge, max_turn=self.max_turn, min_mass=self.min_group)
        near = affinities(groups, gamma=self.gamma)
        tables = score_tables(edges.magnitude, groups, near, min_edge=self.min_edge, kappa=self.kappa)
        grid = BoxGrid(self.alpha, self.max_ratio, self.min_area_px)
        boxes, scores = search(tables, grid, min_score=self.min_score)
        order = np.argsort(-scores, kind="stable")
        order = order[suppress(boxes[order], iou=self.beta, eta=self.eta, at_most=self.max_boxes)]
        return Proposals(boxes[order][:, [1, 0, 3, 2]].astype(np.float32), scores[order])


def suppress(boxes: NDArray[np.int64], *, iou: float, eta: float, at_most: int | None) -> NDArray[np.int64]:
    """Return the boxes that overlap no better one by more than a limit.

    After each box that is kept, the limit is multiplied by `eta` while it is above 0.5, so that many boxes
    are kept near the best objects and the rest is spread out (Hosang et al., "What makes for effective
    detection proposals?", PAMI 2016).

    Args:
        boxes: (N, 4) corners of any order of the axes, continuous, best first.
        iou: greatest overlap with a better box at first; above 0.99 nothing is suppressed.
        eta: factor, at most 1, which leaves the limit alone.
        at_most: how many are wanted; None wants all.

    Returns:
        (kept,) positions, rising.

    Example:
        >>> suppress(np.array([[0, 0, 9, 9], [0, 0, 9, 8], [5, 5, 9, 9]]), iou=0.75, eta=1.0, at_most=None)
        array([0, 2])
    """
    room = len(boxes) if at_most is None else min(at_most, len(boxes))
    if iou > 0.99:
        return np.arange(room)
    sides = boxes[:, 2:] - boxes[:, :2]
    bins = (np.log2(sides.prod(axis=1)) * _BINS_PER_OCTAVE).astype(np.int64)
    kept = np.empty(room, dtype=np.int64)
    return kept[: _suppress(boxes, bins, np.float32(iou), np.float32(eta), kept)]


@compiled
def _suppress(
    boxes: NDArray[np.int64],
    bins: NDArray[np.int64],
    limit: np.float32,
    eta: np.float32,
    kept: NDArray[np.int64],
) -> int:
    """Fill in the positions that are kept, and return how many.

    A box is compared with kept ones of similar area only: the IoU is at most the ratio of the areas.
    """
    last = np.full(bins.max() + 1 if len(bins) else 1, -1, dtype=np.int64)
    previous = np.full(len(kept), -1, dtype=np.int64)
    num = 0
    for row in range(len(boxes)):
        if num == len(kept):
            break
        apart = int(np.log2(1 / limit) * _BINS_PER_OCTAVE) + 1
        stays = True
        for near in range(max(0, bins[row] - apart), min(len(last), bins[row] + apart + 1)):
            other = last[near]
            while other >= 0 and stays:
                stays = bool(_iou(boxes[row], boxes[kept[other]]) <= limit)
                other = previous[other]
            if not stays:
                break
        if stays:
            kept[num], previous[num], last[bins[row]] = row, last[bins[row]], num
            num += 1
            if limit > _LOOSEST_TIGHTENED:
                limit *= eta
    return num


@compiled
def _iou(a: NDArray[np.int64], b: NDArray[np.int64]) -> np.float32:
    down, across = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if down <= 0 or across <= 0:
        return np.float32(0)
    shared = np.float32(down * across)
    iou: np.float32 = shared / (_area(a) + _area(b) - shared)
    return iou


@compiled
def _area(box: NDArray[np.int64]) -> np.float32:
    return np.float32((box[2] - box[0]) * (box[3] - box[1]))
