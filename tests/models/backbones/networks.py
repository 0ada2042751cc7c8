"""What tests of several backbones do to networks."""

from __future__ import annotations

import torch
from torch import nn


def randomise_norms(model: nn.Module) -> None:
    noise = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5)):
                value.data = low + torch.rand(len(value), generator=noise)
            module.running_var = 0.5 + torch.rand(len(module.running_var), generator=noise)


def fresh(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    randomise_norms(model)
    return model.eval()


def trainable(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}
