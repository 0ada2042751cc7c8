"""Checks of the regions given to RoIPool and RoIAlign."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import UserError


def require_regions(features: Tensor, boxes: Tensor, image: Tensor) -> None:
    """Raise unless there are feature maps, and a box and the index of a map for each region.

    Raises:
        UserError: a shape or the type of the indices does not fit.

    Example:
        >>> import torch
        >>> require_regions(torch.zeros(1, 2, 3, 4), torch.zeros(5, 4), torch.zeros(5, dtype=torch.int64))
    """
    if features.dim() != 4:
        raise UserError(f"features: expected maps of shape (B, C, H, W), got {tuple(features.shape)}")
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise UserError(f"boxes: expected corner boxes of shape (R, 4), got {tuple(boxes.shape)}")
    if image.shape != boxes.shape[:1] or image.is_floating_point():
        raise UserError(
            f"image: expected one integer for each of {boxes.shape[0]} boxes, "
            f"got {tuple(image.shape)} of {image.dtype}"
        )


def require_known_images(image: Tensor, num_images: int) -> None:
    """Raise unless each index has a map: the compiled loops read memory unchecked.

    Raises:
        UserError: an index is negative or too high.

    Example:
        >>> import torch
        >>> require_known_images(torch.tensor([0, 1]), 2)
    """
    if len(image) == 0:
        return
    low, high = (int(end) for end in image.aminmax())
    if low < 0 or high >= num_images:
        raise UserError(f"image: expected indices from 0 to {num_images - 1}, got {low} to {high}")


def rows_of_levels(level: Tensor, num_levels: int) -> list[Tensor]:
    """Return which rows are on each level, in the order they came.

    Off the CPU the counts cross to the host at once, so that it waits for the device one time only.

    Args:
        level: (R,) integers.
        num_levels: how many levels there are.

    Example:
        >>> [rows.tolist() for rows in rows_of_levels(torch.tensor([1, 0, 1]), 3)]
        [[1], [0, 2], []]
    """
    if torch.compiler.is_exporting():
        return [torch.nonzero(level == number).squeeze(1) for number in range(num_levels)]
    counts = (level[:, None] == torch.arange(num_levels, device=level.device)).sum(dim=0)
    return list(torch.split(level.argsort(stable=True), counts.tolist()))


def runs_plainly(*tensors: Tensor) -> bool:
    """Return whether a custom operator's loops can be called without it: nothing records or traces the call.

    The first call of a custom operator imports torch's compiler, which takes longer than to look at an image.

    Example:
        >>> with torch.inference_mode():
        ...     runs_plainly(torch.zeros(2))
        True
    """
    watched = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return not watched and all(type(tensor) is Tensor for tensor in tensors)
