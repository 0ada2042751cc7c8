"""Star models as layers: convolution by root and parts, distance transform pooling, object geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.initialisation import gaussian
from detkit.ops.convolution import Conv2d
from detkit.ops.distance_transform import REACH, distance_transform

_STD = 1e-3
_LEAST_STIFFNESS = 1e-3  # as in release 5 of the deformable part models, which begin with ten times as much
_FIRST_STIFFNESS = 1e-2
BACKGROUND_MARGIN = -1.0
"""Where margins begin: no error on the background, which nearly everything is."""


class DistanceTransformPooling(nn.Module):
    """The best of the scores around each cell, less a quadratic cost of moving there, which is learned.

    Args:
        num_parts: F.
        reach: how many cells a part may move in each direction.

    Reference: Girshick et al., Deformable Part Models are Convolutional Neural Networks, CVPR 2015.
    """

    def __init__(self, num_parts: int, reach: int = REACH) -> None:
        super().__init__()
        self.reach = reach
        root = (_FIRST_STIFFNESS - _LEAST_STIFFNESS) ** 0.5
        self.stiffness = nn.Parameter(torch.full((num_parts, 2), root))
        self.slope = nn.Parameter(torch.zeros((num_parts, 2)))

    def deformations(self) -> Tensor:
        """Return (F, 4) ax, bx, ay, by; ax and ay stay positive, so that moving costs something."""
        squares = self.stiffness.square() + _LEAST_STIFFNESS
        return torch.stack([squares, self.slope], dim=2).flatten(1)

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, F, H, W) best scores, and the y and the x where they are; see `distance_transform`."""
        return distance_transform(scores, self.deformations(), self.reach)


@dataclass(frozen=True)
class Placements:
    """What star models of one shape give at each place of a map, the middle of their root.

    Attributes:
        margins: (B, K, H, W).
        deltas: (B, 4, H, W) by which the root's box is moved; None where it is not.
        sources: y and x of the best place of each part near each cell, (B, K, P, H', W') int64, from and on a
            map that goes on beyond the features; None without parts.
    """

    margins: Tensor
    deltas: Tensor | None
    sources: tuple[Tensor, Tensor] | None


class Stars(nn.Module):
    """A star model of one shape for each class: a component of its mixture.

    Args:
        channels: C of the features.
        num_classes: K.
        root: rows and columns of the root filters.
        num_parts: P of a class.
        part: rows and columns of a part's filter.
        reach: how many cells a part may move in each direction.
        regresses: whether boxes are moved, too.

    Attributes:
        anchors: (P, 2) y and x of the first cell of each part in the root.
    """

    deltas: Conv2d | None
    parts: Conv2d | None
    pooling: DistanceTransformPooling | None

    def __init__(
        self,
        channels: int,
        num_classes: int,
        root: tuple[int, int],
        *,
        num_parts: int = 0,
        part: tuple[int, int] = (3, 3),
        reach: int = REACH,
        regresses: bool = False,
    ) -> None:
        super().__init__()
        self.root_size, self.part_size = root, part
        self.num_classes, self.num_parts, self.reach = num_classes, num_parts, reach
        middle = (root[0] // 2, root[1] // 2)
        self.root = Conv2d(channels, num_classes, root, padding=middle)
        self.deltas = Conv2d(channels, 4, root, padding=middle) if regresses else None
        # A part is scored wherever it touches the map.
        around = (part[0] - 1, part[1] - 1)
        self.parts = (
            Conv2d(channels, num_classes * num_parts, part, padding=around, bias=False) if num_parts else None
        )
        self.pooling = DistanceTransformPooling(num_classes * num_parts, reach) if num_parts else None
        self.anchors = spread(root, num_parts, part)
        self.outputs_per_class = {"root": 1, "parts": num_parts, "pooling": num_parts}
        gaussian(self, _STD)
        nn.init.constant_(cast(Tensor, self.root.bias), BACKGROUND_MARGIN)

    def forward(self, maps: Tensor) -> Placements:
        """Return what (B, C, H, W) features give at each cell; beyond the map features are 0."""
        size = maps.shape[2:]
        margins = _at_least_float32(self.root(maps))[..., : size[0], : size[1]]
        deltas = None
        if self.deltas is not None:
            deltas = _at_least_float32(self.deltas(maps))[..., : size[0], : size[1]]
        if self.parts is None or self.pooling is None:
            return Placements(margins, deltas, None)
        down, across = self._beyond
        best, y, x = self.pooling(F.pad(_at_least_float32(self.parts(maps)), (across, across, down, down)))
        best, y, x = (each.unflatten(1, (self.num_classes, self.num_parts)) for each in (best, y, x))
        for part, (top, left) in enumerate(self._first_places()):
            # The object's geometry: what a part can do counts where its root is.
            margins = margins + best[:, :, part, top : top + size[0], left : left + size[1]]
        return Placements(margins, deltas, (y, x))

    def boxes(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the (N, 4) boxes of the roots at these cells, in cells."""
        top, left = y - self.root_size[0] // 2, x - self.root_size[1] // 2
        return torch.stack([left, top, left + self.root_size[1], top + self.root_size[0]], dim=1)

    def part_boxes(self, placed: Placements, image: int, labels: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Return the (N, P, 4) boxes of the parts of these classes' roots at these cells, in cells.

        Args:
            placed: what this module gave.
            image: number of the image in it.
            labels: (N,) classes.
            y: (N,) row of each place.
            x: (N,) column of each place.
        """
        assert placed.sources is not None
        firsts = torch.tensor(self._first_places(), device=labels.device)
        parts = torch.arange(self.num_parts, device=labels.device)
        own = image, labels[:, None], parts, y[:, None] + firsts[:, 0], x[:, None] + firsts[:, 1]
        top, left = (
            source[own] - beyond - side + 1
            for source, beyond, side in zip(placed.sources, self._beyond, self.part_size, strict=True)
        )
        return torch.stack([left, top, left + self.part_size[1], top + self.part_size[0]], dim=-1)

    @property
    def _beyond(self) -> tuple[int, int]:
        """Rows and columns that parts are looked for outside of where they touch the map."""
        rows, columns = self.root_size
        return rows // 2 + self.reach, columns // 2 + self.reach

    def _first_places(self) -> list[tuple[int, int]]:
        """Return for each part where it belongs, on its map, for a root at the first cell."""
        down, across = (side - 1 + self.reach for side in self.part_size)
        return [(down + y, across + x) for y, x in self.anchors]


def spread(root: tuple[int, int], num_parts: int, part: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the y and x of parts that lie evenly over a root, in rows of equal numbers.

    Of the ways to divide them into rows the one is taken with the fewest parts in one place, and of these the
    one whose parts are the most alike in both distances.

    Args:
        root: rows and columns of the root.
        num_parts: how many parts.
        part: rows and columns of each.

    Example:
        >>> spread((6, 12), 8, (3, 3))
        [(0, 0), (0, 3), (0, 6), (0, 9), (3, 0), (3, 3), (3, 6), (3, 9)]
    """
    grids = []
    for rows in (number for number in range(1, num_parts + 1) if num_parts % number == 0):
        columns = num_parts // rows
        y, x = (_firsts(*given) for given in zip(root, part, (rows, columns), strict=True))
        grid = [(top, left) for top in y for left in x]
        grids.append((-len(set(grid)), abs(root[0] * columns - root[1] * rows), grid))
    return min(grids)[2] if grids else []


def _firsts(side: int, part: int, count: int) -> list[int]:
    """Return where each of some parts begins along a side."""
    room = side - part
    return [round(room * number / (count - 1)) for number in range(count)] if count > 1 else [room // 2]


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
