"""Checks of an explanation: does its map depend on what was learned, and do its pixels matter?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from detkit.explain.subject import GREY, OnStep, Subject

Map = NDArray[np.float32]

STAGES = 6  # parts of the network that are put to random one after the other
STEPS = 24  # steps of a deletion or insertion curve
RANDOM_MAPS = 3
SAME = 0.5
"""Rank correlation with the map of a network of random weights from which on a map is called the same."""

_CELLS, _LEAST_CELL_PX = 32, 4  # cells of the image along its longer side that are deleted together
_POINT_BLUR = (
    0.01  # deviation of the blur before a map's maximum is looked for, as a share of the longer side
)


@dataclass(frozen=True)
class Curves:
    """The score while pixels are taken away, or given back to a blurred image, in the order of a map.

    Attributes:
        deletion: (STEPS + 1,) scores; a good map makes them fall at once.
        insertion: (STEPS + 1,) scores; a good map makes them rise at once.
    """

    deletion: Map
    insertion: Map

    @property
    def deletion_auc(self) -> float:
        """Area under the deletion curve, over shares from 0 to 1."""
        return area_under(self.deletion)

    @property
    def insertion_auc(self) -> float:
        """Area under the insertion curve, over shares from 0 to 1."""
        return area_under(self.insertion)


def area_under(curve: Map) -> float:
    """Return the mean height of a curve of evenly spaced points.

    Example:
        >>> area_under(np.array([1.0, 0.0, 0.0], dtype=np.float32))
        0.25
    """
    return float(np.mean((curve[1:] + curve[:-1]) / 2))


def curves(subject: Subject, heat: Map, on_step: OnStep) -> Curves:
    """Return the deletion and insertion curves of a map.

    Square cells are taken whole, in the order of the map's sum over them: single pixels would be noise for
    the network, whatever their order.

    Args:
        subject: what is explained.
        heat: (H, W) map in pixels of the batch.
        on_step: called with how many images more were looked at.

    Reference: Petsiuk, Das and Saenko, RISE, BMVC 2018.
    """
    ranks, image = _ranks(heat, subject.image.sizes[0]), subject.image.pixels
    grey = image.new_tensor(GREY).view(1, 3, 1, 1).expand_as(image)
    found = []
    for begin, end in ((image, grey), (_blurred(image), image)):
        steps = [torch.from_numpy(ranks < step / STEPS).to(image.device) for step in range(STEPS + 1)]
        scores = subject.scores(torch.cat([torch.where(changed, end, begin) for changed in steps]))
        found.append(np.asarray(scores.numpy(), dtype=np.float32))
        on_step(len(steps))
    return Curves(*found)


def random_curves(subject: Subject, seed: int, on_step: OnStep) -> Curves:
    """Return the mean curves of maps at random, which any map has to beat."""
    size, chance = subject.image.pixels.shape[2:], np.random.default_rng(seed)
    cell = _cell(subject.image.sizes[0])
    drawn = []
    for _ in range(RANDOM_MAPS):
        grid = chance.random([-(-side // cell) for side in size]).astype(np.float32)
        heat = grid.repeat(cell, 0).repeat(cell, 1)[: size[0], : size[1]]
        drawn.append(curves(subject, heat, on_step))
    return Curves(
        np.mean([own.deletion for own in drawn], axis=0), np.mean([own.insertion for own in drawn], axis=0)
    )


def randomised(
    subject: Subject, heat: Map, explain: Callable[[Subject], Map], seed: int, stages: int
) -> list[float]:
    """Return the rank correlations of a map with those of networks of more and more random weights.

    Layers are put to random from the output down; the last network knows nothing. Maps are compared inside
    the region, as what lies outside has no part in either.

    Args:
        subject: what is explained.
        heat: (H, W) its map.
        explain: makes the map of another subject.
        seed: of the random weights.
        stages: how many networks.

    Reference: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018.
    """
    x1, y1, x2, y2 = subject.region[0].tolist()
    height, width = subject.image.sizes[0]
    rows = slice(max(0, int(y1)), min(height, max(int(y1) + 2, round(y2))))
    columns = slice(max(0, int(x1)), min(width, max(int(x1) + 2, round(x2))))
    found = []
    for other in subject.with_random_layers(seed, stages):
        found.append(rank_correlation(np.abs(heat[rows, columns]), np.abs(explain(other)[rows, columns])))
    return found


def rank_correlation(one: Map, other: Map) -> float:
    """Return Spearman's rank correlation of two maps; 0 where one is flat.

    Example:
        >>> ramp = np.arange(6, dtype=np.float32).reshape(2, 3)
        >>> rank_correlation(ramp, ramp**2), rank_correlation(ramp, -ramp), rank_correlation(ramp, 0 * ramp)
        (1.0, -1.0, 0.0)
    """
    from scipy.stats import rankdata

    first, second = (rankdata(values.ravel()) for values in (one, other))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return round(float(np.corrcoef(first, second)[0, 1]), 6)


def points_at(heat: Map, boxes: NDArray[np.floating]) -> bool:
    """Return whether a map's maximum lies in one of some boxes: the pointing game.

    Args:
        heat: (H, W) map.
        boxes: (N, 4) corner boxes in its pixels.

    Reference: Zhang et al., Top-down neural attention by excitation backprop, ECCV 2016.
    """
    import cv2

    smooth = cv2.GaussianBlur(heat, (0, 0), max(0.5, _POINT_BLUR * max(heat.shape)))
    y, x = np.unravel_index(int(smooth.argmax()), heat.shape)
    return any(x1 <= x + 0.5 <= x2 and y1 <= y + 0.5 <= y2 for x1, y1, x2, y2 in boxes.tolist())


def _cell(size: Sequence[int]) -> int:
    return max(_LEAST_CELL_PX, -(-max(size) // _CELLS))


def _ranks(heat: Map, size: tuple[int, int]) -> Map:
    """Return for each pixel the share of cells that come before its own; 1 for the padding, which stays."""
    cell = _cell(size)
    rows, columns = (-(-side // cell) for side in size)
    padded = np.zeros((rows * cell, columns * cell), dtype=np.float64)
    padded[: size[0], : size[1]] = heat[: size[0], : size[1]]
    sums = padded.reshape(rows, cell, columns, cell).sum(axis=(1, 3)).ravel()
    ranks = np.empty(len(sums), dtype=np.float32)
    ranks[np.argsort(-sums, kind="stable")] = np.arange(len(sums)) / len(sums)
    whole = np.ones(heat.shape, dtype=np.float32)
    spread = ranks.reshape(rows, columns).repeat(cell, 0).repeat(cell, 1)
    whole[: size[0], : size[1]] = spread[: size[0], : size[1]]
    return whole


def _blurred(image: Tensor) -> Tensor:
    """Return an image in which nothing can be told."""
    size = image.shape[2:]
    small = F.interpolate(image.float(), [max(1, side // 24) for side in size], mode="area")
    return (
        F.interpolate(small, size, mode="bicubic", align_corners=False).clamp(0, 255).round().to(torch.uint8)
    )
