"""The bounded distance transform: how well a part can do near each place, and where it is then.

Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", Theory of Computing 2012; bounded
as in release 5 of the deformable part models. With gradients it is the distance transform pooling of
Girshick, Iandola, Darrell and Malik, "Deformable Part Models are Convolutional Neural Networks", CVPR 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from detkit.ops.kernels.distance_transform_loops import transform_columns, transform_rows
from detkit.ops.ordered_pool import sum_at
from detkit.runtime.compiled import run_all

Array = NDArray[Any]

REACH = 4
"""Cells that a part may move in each direction in the authors' release 5."""

_MAPS_AT_ONCE = 16
"""Maps that a thread takes at a time."""


def distance_transform(
    scores: Tensor, deformations: Tensor, reach: int = REACH
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best of the scores around each cell, less what it costs to move, and where it is.

    A part that belongs at p and is at q moves by d = p - q, for ax * dx ** 2 + bx * dx and the same in y. The
    rows are taken first; of equal ones the first row and then the first column wins.

    The gradient of a cell goes to the score that won, and times -(dx ** 2, dx, dy ** 2, dy) to the costs.
    Where moving costs nothing this is max pooling over (2 * reach + 1) ** 2 cells.

    Args:
        scores: (..., F, H, W) scores of F parts; -inf where one cannot be.
        deformations: (F, 4) ax, bx, ay, by.
        reach: how many cells a part may move in each direction.

    Returns:
        (..., F, H, W) best scores, and two of int64, the y and the x where they are. Where all cells within
        reach are -inf, so is the best, and y and x are those of one of these cells.

    Example:
        >>> scores = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]])
        >>> best, _, x = distance_transform(scores, torch.tensor([[0.3, 0.0, 0.3, 0.0]]))
        >>> best.tolist(), x.tolist()
        ([[[0.0, 0.0, 0.699999988079071, 1.0]]], [[[0, 1, 3, 3]]])
    """
    # What costs little to move is lost in the half types, which autocast makes of scores.
    working = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    transform = _by_loops if scores.device.type == "cpu" else _Shifted.apply
    best, y, x = transform(working, deformations, reach)
    return best.to(scores.dtype), y, x


@torch.library.custom_op("detkit::distance_transform", mutates_args=(), device_types="cpu")
def _by_loops(scores: Tensor, deformations: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    maps: Array = scores.flatten(0, -3).contiguous().numpy()
    repeats = len(maps) // max(len(deformations), 1)
    costs = np.tile(moving_costs(deformations.numpy(), reach, maps.dtype), (1, repeats, 1))
    columns, best = np.empty_like(maps), np.empty_like(maps)
    rows_of, moved = np.zeros(maps.shape, np.int16), np.zeros(maps.shape, np.int16)

    def transform(begin: int) -> None:
        own = slice(begin, begin + _MAPS_AT_ONCE)
        transform_columns(maps[own], costs[1, own], columns[own], rows_of[own])
        transform_rows(columns[own], costs[0, own], best[own], moved[own])

    run_all(transform, range(0, len(maps), _MAPS_AT_ONCE), torch.get_num_threads())
    x = np.arange(maps.shape[2]) - moved
    y = np.take_along_axis(rows_of, x, axis=2).astype(np.int64)
    found = [torch.from_numpy(values).view(scores.shape) for values in (best, y, x)]
    return found[0], found[1], found[2]


@_by_loops.register_fake
def _(scores: Tensor, deformations: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    best = torch.empty(scores.shape, dtype=scores.dtype, device=scores.device)
    return best, torch.empty_like(best, dtype=torch.int64), torch.empty_like(best, dtype=torch.int64)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.kind = inputs[1].dtype


def _differentiate(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    y, x = ctx.saved_tensors
    height, width = y.shape[-2:]
    size = max(height * width, 1)
    maps = torch.arange(y.numel() // size, device=y.device).view(*y.shape[:-2], 1, 1)
    to_scores = sum_at(maps * size + y * width + x, grad, y.shape)
    dy = (torch.arange(height, device=y.device)[:, None] - y).to(grad.dtype)
    dx = (torch.arange(width, device=y.device) - x).to(grad.dtype)
    others = [axis for axis in range(grad.dim()) if axis != grad.dim() - 3]
    sums = [(grad * term).sum(others) for term in (dx**2, dx, dy**2, dy)]
    return to_scores, -torch.stack(sums, dim=1).to(ctx.kind), None


_by_loops.register_autograd(_differentiate, setup_context=_remember)


class _Shifted(torch.autograd.Function):
    """The same of shifted maps, on any device."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, deformations: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best scores, and where they are."""
        moved = torch.arange(-reach, reach + 1, dtype=scores.dtype, device=scores.device)
        ax, bx, ay, by = deformations.to(scores.dtype).T[..., None]
        columns, rows_of = _best_along(scores, ay * moved**2 + by * moved, -2)
        best, x = _best_along(columns, ax * moved**2 + bx * moved, -1)
        found = best, rows_of.gather(-1, x), x
        _remember(ctx, (scores, deformations), found)
        ctx.mark_non_differentiable(*found[1:])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of scores and deformations."""
        return _differentiate(ctx, *grads)


def _best_along(scores: Tensor, costs: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the best along an axis of maps, less (F, 2 * reach + 1) costs of moving, and where it is."""
    length = scores.shape[axis]
    reach = min(costs.shape[1] // 2, length - 1)
    places = torch.arange(length, device=scores.device)
    places = places[:, None] if axis == -2 else places
    best, sources = torch.full_like(scores, -torch.inf), places.expand(scores.shape).clone()
    # From the first source to the last: of equal ones the first stays.
    for moved in range(reach, -reach - 1, -1):
        begin, count = max(moved, 0), length - abs(moved)
        cost = costs[:, costs.shape[1] // 2 + moved, None, None]
        value = scores.narrow(axis, begin - moved, count) - cost
        own, source = best.narrow(axis, begin, count), sources.narrow(axis, begin, count)
        better = value > own
        own.copy_(torch.where(better, value, own))
        source.copy_(torch.where(better, places.narrow(axis, begin - moved, count), source))
    return best, sources


def moving_costs(deformations: Array, reach: int, dtype: Any = np.float64) -> Array:
    """Return (2, F, 2 * reach + 1) costs of moving by -reach to reach in x and in y.

    Args:
        deformations: (F, 4) ax, bx, ay, by.
        reach: how many cells.
        dtype: of the costs, which are computed in float64.

    Example:
        >>> moving_costs(np.array([[2.0, 1.0, 0.5, 0.0]]), 1)[:, 0].tolist()
        [[1.0, 0.0, 3.0], [0.5, 0.0, 0.5]]
    """
    moved = np.arange(-reach, reach + 1, dtype=np.float64)
    ax, bx, ay, by = deformations.astype(np.float64).T[..., None]
    return np.stack([ax * moved**2 + bx * moved, ay * moved**2 + by * moved]).astype(dtype)
