"""Reference boxes laid on every cell of a feature map."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from detkit.errors import UserError

Rounding = Literal["base", "corners", "none"]

_BASE_PX = 16.0
"""Side of the anchor whose sides Faster R-CNN rounds before it scales them up."""

_KEPT_GRIDS = 64
"""Grids remembered; images come in few shapes, and a training run with many must not grow without end."""


def base_anchors(sizes_px: Sequence[float], ratios: Sequence[float], rounding: Rounding) -> Tensor:
    """Return the anchors of one cell, centred on zero.

    Args:
        sizes_px: square roots of the areas in pixels.
        ratios: height over width.
        rounding: "base" rounds the sides of a 16-px anchor and scales it up (Faster R-CNN: 184x96 rather
            than 181x91), "corners" rounds the corners (torchvision), "none" keeps the exact values.

    Returns:
        (len(ratios) * len(sizes_px), 4) float32 corner boxes in pixels, ratios outside, sizes inside.

    Raises:
        UserError: `rounding` is not one of the three.

    Example:
        >>> base_anchors([128.0], [0.5, 1.0], "base")
        tensor([[-92., -48.,  92.,  48.],
                [-64., -64.,  64.,  64.]])

    Reference: Ren et al., Faster R-CNN, NeurIPS 2015.
    """
    sizes = torch.tensor(sizes_px, dtype=torch.float32)[None, :]
    ratio = torch.tensor(ratios, dtype=torch.float32)[:, None]
    if rounding == "base":
        width = (_BASE_PX / ratio.sqrt()).round()
        height = (width * ratio).round()
        widths, heights = width * sizes / _BASE_PX, height * sizes / _BASE_PX
    elif rounding in {"corners", "none"}:
        # Multiplied in torchvision's order, so that its rounding gives the same corners at ties.
        widths, heights = (1 / ratio.sqrt()) * sizes, ratio.sqrt() * sizes
    else:
        raise UserError(f"rounding: expected base, corners or none, got {rounding!r}")
    corners = torch.stack((-widths, -heights, widths, heights), dim=-1).reshape(-1, 4) / 2
    return corners.round() if rounding == "corners" else corners


Stride = int | tuple[int, int]
"""Side of a cell in pixels, or its height and width."""


def grid_anchors(base: Tensor, stride: Stride, height: int, width: int, offset: float) -> Tensor:
    """Return one cell's anchors repeated on every cell of a feature map.

    Args:
        base: (A, 4) corner boxes in pixels, centred on zero.
        stride: of the map, in pixels of the image.
        height: rows of the map.
        width: columns of the map.
        offset: where in its cell an anchor is centred: 0.5 the middle (Faster R-CNN), 0 the corner
            (torchvision, detectron2).

    Returns:
        (height * width * A, 4) corner boxes in pixels; A changes fastest, then x, then y, as the outputs
        of a (B, A, H, W) head do after `permute(0, 2, 3, 1)`.

    Example:
        >>> grid_anchors(torch.tensor([[-8.0, -8.0, 8.0, 8.0]]), 16, 1, 2, 0.5)
        tensor([[ 0.,  0., 16., 16.],
                [16.,  0., 32., 16.]])
    """
    down, across = (stride, stride) if isinstance(stride, int) else stride
    x = (torch.arange(width, dtype=base.dtype, device=base.device) + offset) * across
    y = (torch.arange(height, dtype=base.dtype, device=base.device) + offset) * down
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    centres = torch.stack((columns, rows, columns, rows), dim=-1)
    return (centres[:, :, None] + base).reshape(-1, 4)


class AnchorGrid:
    """The anchors of every feature map, kept for the shapes seen lately; by default Faster R-CNN's nine.

    Args:
        sizes_px: sizes (square roots of areas) for each feature map, in pixels.
        ratios: height over width.
        rounding: see `base_anchors`.
        offset: see `grid_anchors`.

    Example:
        >>> grid = AnchorGrid(((32.0,), (64.0,)), (1.0,), "none", 0.5)
        >>> [len(level) for level in grid(((2, 3), (1, 2)), (8, 16), torch.device("cpu"))]
        [6, 2]
    """

    def __init__(
        self,
        sizes_px: Sequence[Sequence[float]] = ((128.0, 256.0, 512.0),),
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        rounding: Rounding = "base",
        offset: float = 0.5,
    ) -> None:
        self._bases = [base_anchors(sizes, ratios, rounding) for sizes in sizes_px]
        self._offset = offset
        self._kept: OrderedDict[tuple[int, Stride, int, int, torch.device], Tensor] = OrderedDict()

    @property
    def num_per_cell(self) -> tuple[int, ...]:
        """Number of anchors on a cell of each feature map.

        Example:
            >>> AnchorGrid(((32.0, 64.0),), (0.5, 1.0, 2.0), "none", 0.0).num_per_cell
            (6,)
        """
        return tuple(len(base) for base in self._bases)

    def __call__(
        self, shapes: Sequence[tuple[int, int]], strides: Sequence[Stride], device: torch.device
    ) -> list[Tensor]:
        """Return the anchors of each feature map; they are shared, so do not change them in place.

        Args:
            shapes: (height, width) in cells of each feature map.
            strides: of each feature map.
            device: where the anchors shall be.

        Returns:
            For each map (height * width * A, 4) float32 corner boxes in pixels; see `grid_anchors`.

        Raises:
            UserError: there are not as many maps as lists of sizes.
        """
        if not len(shapes) == len(strides) == len(self._bases):
            raise UserError(
                f"anchors.sizes_px: {len(self._bases)} lists of sizes, but the model has {len(shapes)} "
                f"feature maps and {len(strides)} strides; give one list for each map"
            )
        return [
            self._level(level, stride, *shape, device)
            for level, (shape, stride) in enumerate(zip(shapes, strides, strict=True))
        ]

    def _level(self, level: int, stride: Stride, height: int, width: int, device: torch.device) -> Tensor:
        if torch.compiler.is_exporting():  # sizes are symbols, which nothing is kept for
            return grid_anchors(self._bases[level].to(device), stride, height, width, self._offset)
        key = (level, stride, height, width, device)
        if key not in self._kept:
            # Built on the CPU and copied, so that every device holds the same bits.
            self._kept[key] = grid_anchors(self._bases[level], stride, height, width, self._offset).to(device)
            if len(self._kept) > _KEPT_GRIDS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
