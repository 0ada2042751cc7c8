"""A part of a network that does not learn while the rest does."""

from __future__ import annotations

from types import MethodType

from torch import nn


def hold_still(part: nn.Module) -> None:
    """Let a part stay as it is: its weights get no gradient, and it is in evaluation mode for good.

    The second matters to norms, whose statistics would go on moving where the rest of the model trains.

    Args:
        part: any module; it is changed.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3))
        >>> hold_still(model[0])
        >>> [module.training for module in model.train()]
        [False, True]
    """
    part.requires_grad_(False)
    part.eval()
    part.train = MethodType(lambda self, mode=True: self, part)  # type: ignore[method-assign]
