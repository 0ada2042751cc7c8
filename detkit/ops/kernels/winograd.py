"""Convolution with kernels of 3x3 by Winograd's method: a quarter of the multiplications (Lavin 2016).

Read as polynomials, a row of four results is the product of a kernel row of three numbers and a row of six
numbers of the map, and a product of polynomials can be taken value by value at six points. In two dimensions
36 products thus give 16 results, where a convolution takes 144. Numbers are brought to the points, and the
results back, by sums that all channels share; between them stand 36 products of matrices.

The points are 0, +-5/8, +-3/2 and infinity. With those of the paper, 0, +-1 and +-2, results of 256
channels in float32 are off by 2.0e-6 of their deviation, with these by 0.9e-6, PyTorch's own by 0.6e-6
(Barabasz 2020 on the choice).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_NEAR, _FAR = 5 / 8, 3 / 2
_NEAR_2, _FAR_2 = _NEAR**2, _FAR**2

_NUMBERS_AT_ONCE = 51_200
"""Tiles times channels that are worked on together: their 36 numbers fit a cache of a few MB."""

_held = threading.local()


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> Tensor:
    """Return `torch.nn.functional.conv2d` of kernels of 3x3 with a stride of 1; no gradient is recorded.

    Args:
        x: (B, C_in, H, W) maps, in channels-last format.
        weight: (C_out, C_in, 3, 3).
        bias: (C_out,) or None.
        padding: above and below, left and right; 2 at most.

    Returns:
        (B, C_out, H', W') in channels-last format.
    """
    channels_out, channels = weight.shape[:2]
    grid = _Grid.over(x, padding)
    maps = x.permute(0, 2, 3, 1)
    kernels = _kernels_at_points(weight)
    size = (len(x), channels_out, *grid.size)
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    results = out.permute(0, 2, 3, 1)
    for part in grid.parts(max(channels, channels_out)):
        at_points = _maps_at_points(grid.cells_of(part, maps), grid)
        products = _room("products", (*at_points.shape[:2], channels_out), x)
        torch.bmm(at_points, kernels.transpose(1, 2), out=products)
        target = results[part.images, 4 * part.rows.start : 4 * part.rows.stop]
        _results(products, part, grid, target)
        if bias is not None:
            target += bias
    return out


def winograd_input_gradient(grad: Tensor, weight: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Return the gradient of `winograd` by its maps: the convolution with the kernels turned around.

    Args:
        grad: (B, C_out, H', W') gradient of the result, in channels-last format.
        weight: (C_out, C_in, 3, 3).
        padding: that of the convolution.

    Returns:
        (B, C_in, H, W) in channels-last format.
    """
    turned = weight.flip(2, 3).transpose(0, 1)
    return winograd(grad, turned, None, tuple(2 - each for each in padding))


def winograd_weight_gradient(grad: Tensor, x: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Return the gradient of `winograd` by its weights, summed at the points.

    Args:
        grad: (B, C_out, H', W') gradient of the result, in channels-last format.
        x: (B, C_in, H, W) maps, in channels-last format.
        padding: that of the convolution.

    Returns:
        (C_out, C_in, 3, 3) in channels-last format.
    """
    channels_out, channels = grad.shape[1], x.shape[1]
    grid = _Grid.over(x, padding)
    maps, returned = x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
    total = _room("kernels", (36, channels_out, channels), x).zero_()
    for part in grid.parts(max(channels, channels_out)):
        at_points = _maps_at_points(grid.cells_of(part, maps), grid)
        of_products = _gradient_at_points(grid.results_of(part, returned), grid)
        torch.baddbmm(total, of_products.transpose(1, 2), at_points, out=total)
    kernel = _kernel_matrix(total.dtype).t() @ total.view(36, -1)
    return (
        kernel.view(3, 3, channels_out, channels)
        .permute(2, 3, 0, 1)
        .contiguous(memory_format=torch.channels_last)
    )


def count_tiles(x: Tensor, padding: tuple[int, ...]) -> int:
    """Return how many tiles of 4x4 cover the results for (B, C, H, W) maps."""
    grid = _Grid.over(x, padding)
    return grid.images * grid.down * grid.across


class _Part(NamedTuple):
    """Rows of tiles, of several images, that are worked on together."""

    images: slice
    rows: slice

    @property
    def shape(self) -> tuple[int, int]:
        return self.images.stop - self.images.start, self.rows.stop - self.rows.start


class _Grid(NamedTuple):
    """The tiles of 4x4 results that cover all maps; the last ones may reach beyond them.

    Attributes:
        images: number of images.
        size: height and width of the results.
        padding: above and below, left and right of the maps.
    """

    images: int
    size: tuple[int, int]
    padding: tuple[int, ...]

    @classmethod
    def over(cls, x: Tensor, padding: tuple[int, ...]) -> _Grid:
        height, width = x.shape[2] + 2 * padding[0] - 2, x.shape[3] + 2 * padding[1] - 2
        return cls(len(x), (height, width), padding)

    @property
    def down(self) -> int:
        return -(-self.size[0] // 4)

    @property
    def across(self) -> int:
        return -(-self.size[1] // 4)

    def cells_of(self, part: _Part, maps: Tensor) -> Tensor:
        """Return the cells that a part's results depend on: (images, 4 rows + 2, 4 across + 2, C).

        Args:
            part: which part.
            maps: (B, H, W, C).
        """
        above, left = self.padding
        top, below = 4 * part.rows.start - above, 4 * part.rows.stop + 2 - above
        some = maps[part.images, max(0, top) : max(0, below)]
        right = 4 * self.across + 2 - left - maps.shape[2]
        above = max(0, -top)
        below = below - top - above - some.shape[1]
        return F.pad(some, (0, 0, left, right, above, below)).contiguous()  # of a gradient it may not be

    def results_of(self, part: _Part, results: Tensor) -> Tensor:
        """Return a part of (B, H', W', C) results, zeros beyond them: (images, 4 rows, 4 across, C)."""
        some = results[part.images, 4 * part.rows.start : 4 * part.rows.stop]
        right, below = 4 * self.across - some.shape[2], 4 * part.shape[1] - some.shape[1]
        return F.pad(some, (0, 0, 0, right, 0, below)) if right or below else some

    def parts(self, channels: int) -> Iterator[_Part]:
        """Divide the tiles: as many rows, and whole images, as are worked on together."""
        most = max(1, _NUMBERS_AT_ONCE // channels)
        rows = min(self.down, max(1, most // self.across))
        images = min(self.images, max(1, most // (self.across * self.down)))
        for first in range(0, self.images, images):
            for top in range(0, self.down, rows):
                yield _Part(
                    slice(first, min(first + images, self.images)), slice(top, min(top + rows, self.down))
                )


def _kernels_at_points(weight: Tensor) -> Tensor:
    """Return (36, C_out, C_in) kernels at the points."""
    channels_out, channels = weight.shape[:2]
    cells = weight.permute(2, 3, 0, 1).reshape(9, channels_out * channels)
    room = _room("kernels", (36, channels_out, channels), weight)
    torch.mm(_kernel_matrix(weight.dtype), cells, out=room.view(36, -1))
    return room


def _room(name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return memory that the next call in this thread uses again.

    Allocators give so much back to the system, and touching fresh pages takes as long as what is computed.
    It comes to some 35 MB with 256 channels and 65 MB with 512.
    """
    size, held = math.prod(shape), vars(_held).get(name)
    if held is None or held.dtype != like.dtype or held.numel() < size:
        with torch.inference_mode(False):  # what is made in that mode cannot be written to outside of it
            held = torch.empty(size, dtype=like.dtype)
        setattr(_held, name, held)
    room: Tensor = held[:size].view(shape)
    return room


@cache
def _kernel_matrix(dtype: torch.dtype) -> Tensor:
    """Return (36, 9): the values at the points, divided by what interpolation divides by."""
    rows = [[1 / (_NEAR_2 * _FAR_2), 0, 0]]
    for point, other in ((_NEAR, _FAR), (-_NEAR, _FAR), (_FAR, _NEAR), (-_FAR, _NEAR)):
        scale = 1 / (2 * point**2 * (point**2 - other**2))
        rows.append([scale, scale * point, scale * point**2])
    rows.append([0, 0, 1])
    of_row = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(of_row, of_row).to(dtype)


def _maps_at_points(maps: Tensor, grid: _Grid) -> Tensor:
    """Return (36, tiles, C) numbers at the points, tile by tile, from what `_Grid.cells_of` cut out."""
    images, height, width, channels = maps.shape
    rows, line = height // 4, width * channels
    # Six lines of each row of tiles; the last two are the first two of the next.
    lines = maps.as_strided((6, images, rows, line), (line, maps.stride(0), 4 * line, 1))
    down = _room("lines", (6, images, rows, line), maps)
    _to_points(lines, down)
    num = images * rows
    cells = down.as_strided(
        (6, 6, num, grid.across, channels), (channels, num * line, line, 4 * channels, 1)
    )  # the cell of a tile, the point of its line, the row of tiles, the tile
    both = _room("maps", (6, 6, num, grid.across, channels), maps)
    _to_points(cells, both.transpose(0, 1))
    return both.view(36, num * grid.across, channels)


def _results(products: Tensor, part: _Part, grid: _Grid, out: Tensor) -> None:
    """Fill the (images, H, W, C) results of a part from the (36, tiles, C) products at the points."""
    (images, rows), channels = part.shape, products.shape[2]
    both = products.view(6, 6, images * rows, grid.across, channels)
    cells = _room("results", (6, images * rows, grid.across, 4, channels), products)
    _from_points(both.transpose(0, 1), cells.permute(3, 0, 1, 2, 4))
    lines = cells.view(6, images, rows, 4 * grid.across, channels)[..., : out.shape[2], :]
    _from_points(lines, [out[:, line::4] for line in range(4)])


def _gradient_at_points(returned: Tensor, grid: _Grid) -> Tensor:
    """Return (36, tiles, C) gradients of the products from those of the results: `_results` transposed."""
    images, height, width, channels = returned.shape
    rows = height // 4
    lines = returned.view(images, rows, 4, width, channels).movedim(2, 0)
    down = _room("lines", (6, images, rows, width, channels), returned)
    _back_to_points(lines, down)
    cells = down.view(6, images * rows, grid.across, 4, channels).permute(3, 0, 1, 2, 4)
    both = _room("products", (6, 6, images * rows, grid.across, channels), returned)
    _back_to_points(cells, both.transpose(0, 1))
    return both.view(36, images * rows * grid.across, channels)


def _to_points(cells: Tensor, out: Tensor) -> None:
    """Write six numbers at the points, from six neighbouring ones: the interpolation's transposed.

    The rows are the coefficients of x^4 - (n^2 + f^2) x^2 + n^2 f^2 at 0, of the same times x at infinity,
    and of (x^2 - f^2) (x^2 +- n x) and (x^2 - n^2) (x^2 +- f x).
    """
    without_far = torch.sub(cells[2:], cells[:4], alpha=_FAR_2)
    without_near = torch.sub(cells[3:5], cells[1:3], alpha=_NEAR_2)
    torch.sub(without_far[2:], without_far[:2], alpha=_NEAR_2, out=out[::5])
    torch.add(without_far[2], without_far[1], alpha=_NEAR, out=out[1])
    torch.sub(without_far[2], without_far[1], alpha=_NEAR, out=out[2])
    torch.add(without_near[1], without_near[0], alpha=_FAR, out=out[3])
    torch.sub(without_near[1], without_near[0], alpha=_FAR, out=out[4])


def _from_points(products: Tensor, out: Sequence[Tensor] | Tensor) -> None:
    """Write four neighbouring results, from six products at the points.

    A result is the sum of the points' powers times the products. Of the last results as many are written
    as there is room for.
    """
    even, odd = products[1:4:2] + products[2:5:2], products[1:4:2] - products[2:5:2]
    first, near, far = products[0] + even[0], odd[0] * _NEAR, odd[1] * _FAR
    last = torch.add(products[5], near, alpha=_NEAR_2)
    for target, a, b, scale in (
        (out[0], first, even[1], 1.0),
        (out[1], near, far, 1.0),
        (out[2], even[0] * _NEAR_2, even[1], _FAR_2),
        (out[3], last, far, _FAR_2),
    ):
        room = target.shape[1]
        torch.add(a[:, :room], b[:, :room], alpha=scale, out=target)


def _back_to_points(grads: Tensor, out: Tensor) -> None:
    """Write the six gradients of the products, from those of four results: `_from_points` transposed."""
    near = torch.add(grads[:2], grads[2:], alpha=_NEAR_2)
    far = torch.add(grads[:2], grads[2:], alpha=_FAR_2)
    out[::5] = grads[::3]
    torch.add(near[0], near[1], alpha=_NEAR, out=out[1])
    torch.sub(near[0], near[1], alpha=_NEAR, out=out[2])
    torch.add(far[0], far[1], alpha=_FAR, out=out[3])
    torch.sub(far[0], far[1], alpha=_FAR, out=out[4])
