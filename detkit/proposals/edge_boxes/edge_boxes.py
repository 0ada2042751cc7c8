"""EdgeBoxes: boxes that wholly enclose many contours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.edge_boxes.edge_affinity import affinities
from detkit.proposals.edge_boxes.edge_files import EdgeFiles
from detkit.proposals.edge_boxes.edge_groups import group_edges
from detkit.proposals.edge_boxes.edge_map import EdgeMap
from detkit.proposals.edge_boxes.edge_score import score_tables, scratch_for
from detkit.proposals.edge_boxes.edge_search import BoxGrid, search
from detkit.proposals.edge_boxes.edge_suppression import suppress
from detkit.proposals.proposals import Proposals


@dataclass(frozen=True)
class EdgeBoxes:
    """Scores boxes by the contours they enclose (Zitnick and Dollar, "Edge Boxes", ECCV 2014).

    Attributes:
        edges: takes the (H, W, 3) uint8 RGB pixels and returns the contours, thinned.
        alpha: IoU of neighbours among the boxes evaluated.
        beta: of boxes that overlap by more than this only the better one stays; above 0.99 all stay.
        eta: factor on `beta` after each box that stays, while it is above 0.5.
        min_score: boxes of lower scores are left out.
        max_boxes: keep the best so many; None keeps all.
        min_edge: edges of this magnitude or less do not count.
        max_turn: a group of edges ends where its turns sum to this, in units of pi.
        min_group: groups whose magnitudes sum to this or less are taken apart.
        max_ratio: longest side over shortest of the boxes evaluated.
        min_area_px: area of the smallest boxes evaluated.
        gamma: how fast the affinity of groups falls with the angle between them.
        kappa: how much the size of a box counts.

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
        tables = score_tables(edges.magnitude, groups, near, min_edge=self.min_edge)
        boxes, scores = search(
            tables,
            scratch_for(len(groups.masses)),
            BoxGrid(self.alpha, self.max_ratio, self.min_area_px),
            kappa=self.kappa,
            min_score=self.min_score,
        )
        order = np.argsort(-scores, kind="stable")
        order = order[suppress(boxes[order], iou=self.beta, eta=self.eta, at_most=self.max_boxes)]
        return Proposals(boxes[order][:, [1, 0, 3, 2]].astype(np.float32), scores[order].astype(np.float32))
