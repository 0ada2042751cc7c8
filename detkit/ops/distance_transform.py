"""The bounded distance transform: how well a part can do near each place, and where it is then.

Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled Functions", Theory of Computing 2012; bounded
as in release 5 of the deformable part models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.ops.kernels.distance_transform_loops import transform_columns, transform_rows

Array = NDArray[Any]

REACH = 4
"""Cells that a part may move in each direction in the authors' release 5."""


def distance_transform(
    scores: Tensor, deformations: Tensor, reach: int = REACH
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best of the scores around each cell, less what it costs to move, and where it is.

    A part that belongs at p and is at q moves by d = p - q, for ax * dx ** 2 + bx * dx and the same in y. The
    rows are taken first; of equal ones the first row and then the first column wins.

    Args:
        scores: (F, H, W) float32 or float64 scores of F parts; -inf where one cannot be.
        deformations: (F, 4) ax, bx, ay, by.
        reach: how many cells a part may move in each direction.

    Returns:
        (F, H, W) best scores, and two of int64, the y and the x where they are. Where all cells within reach
        are -inf, so is the best, and y and x are those of one of these cells.

    Example:
        >>> scores = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]])
        >>> best, _, x = distance_transform(scores, torch.tensor([[0.3, 0.0, 0.3, 0.0]]))
        >>> best.tolist(), x.tolist()
        ([[[0.0, 0.0, 0.699999988079071, 1.0]]], [[[0, 1, 3, 3]]])
    """
    maps = scores.detach().cpu().contiguous().numpy()
    costs = moving_costs(deformations.detach().cpu().numpy(), reach, maps.dtype)
    columns, best = np.empty_like(maps), np.empty_like(maps)
    rows_of, x = np.zeros(maps.shape, np.int16), np.zeros(maps.shape, np.int16)
    transform_columns(maps, costs[1], columns, rows_of)
    transform_rows(columns, costs[0], best, x)
    y = np.take_along_axis(rows_of, x.astype(np.int64), axis=2)
    return tuple(  # type: ignore[return-value]  # of three
        torch.from_numpy(values).to(scores.device)
        for values in (best, y.astype(np.int64), x.astype(np.int64))
    )


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
