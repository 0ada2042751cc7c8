"""Initial weights where no file gives them."""

from __future__ import annotations

from torch import nn


def he_normal(module: nn.Module) -> None:
    """Fill convolutions and linear layers so that a ReLU network keeps the size of its activations.

    Reference: He et al., Delving Deep into Rectifiers, ICCV 2015.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def gaussian(module: nn.Module, std: float) -> None:
    """Fill convolutions and linear layers from a normal distribution, as the papers do in new layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def lecun_uniform(module: nn.Module) -> None:
    """Fill layers without a ReLU behind them, or fully connected ones, with variance one over fan-in."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
