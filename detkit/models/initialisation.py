"""Initial weights where no file gives them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn


def he_normal(module: nn.Module) -> None:
    """Fill convolutions and linear layers so that a ReLU network keeps the size of its activations.

    Reference: He et al., Delving Deep into Rectifiers, ICCV 2015.
    """
    _fill(module, partial(nn.init.kaiming_normal_, mode="fan_in", nonlinearity="relu"))


def gaussian(module: nn.Module, std: float) -> None:
    """Fill convolutions and linear layers from a normal distribution, as the papers do in new layers."""
    _fill(module, partial(nn.init.normal_, std=std))


def lecun_uniform(module: nn.Module) -> None:
    """Fill layers without a ReLU behind them, or fully connected ones, with variance one over fan-in."""
    _fill(module, partial(nn.init.kaiming_uniform_, a=1))


def _fill(module: nn.Module, fill_weight: Callable[[Tensor], Tensor]) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fill_weight(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
