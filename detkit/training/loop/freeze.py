"""Freezing: a part of a network that is not trained while the rest is."""

from __future__ import annotations

from types import MethodType

from torch import nn


def freeze(part: nn.Module) -> None:
    """Freeze a part: its weights get no gradient, and it is in evaluation mode for good.

    The second matters to norms, whose statistics would go on moving where the rest of the model trains.

    Args:
        part: any module; it is changed.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3))
        >>> freeze(model[0])
        >>> [module.training for module in model.train()]
        [False, True]
    """
    part.requires_grad_(False)
    part.eval()
    part.train = MethodType(lambda self, mode=True: self, part)  # type: ignore[method-assign]
