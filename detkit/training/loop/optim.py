"""Which parameters are trained, by which update rule, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import SGD, AdamW, Optimizer


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


def parameter_groups(
    model: nn.Module, *, lr: float, weight_decay: float, bias_lr_factor: float
) -> list[dict[str, Any]]:
    """Divide a model's trainable parameters into weights, biases and norms.

    Only weights decay: pulling a bias or a norm's scale towards zero limits what it can say without
    making the function simpler. Each group keeps its own rate as `base_lr`, which the schedule scales.

    Args:
        model: the model; parameters that need no gradient are left out.
        lr: learning rate of weights.
        weight_decay: decay of weights.
        bias_lr_factor: learning rate of biases relative to weights; biases of norms count as norms.
    """
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    norms: list[nn.Parameter] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                one_dimensional = parameter.ndim <= 1
                is_bias = name.endswith("bias") and "norm" not in type(module).__name__.lower()
                (biases if is_bias else norms if one_dimensional else weights).append(parameter)
    groups = [(weights, lr, weight_decay), (biases, lr * bias_lr_factor, 0.0), (norms, lr, 0.0)]
    return [
        {"params": list(dict.fromkeys(parameters)), "lr": rate, "base_lr": rate, "weight_decay": decay}
        for parameters, rate, decay in groups
        if parameters
    ]


def sgd(
    model: nn.Module, *, lr: float, momentum: float, weight_decay: float, bias_lr_factor: float
) -> Optimizer:
    """Return stochastic gradient descent with momentum over a model's trainable parameters."""
    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, bias_lr_factor=bias_lr_factor)
    return SGD(groups, lr=lr, momentum=momentum, fused=_fuses(model))


def adamw(model: nn.Module, *, lr: float, weight_decay: float, betas: tuple[float, float]) -> Optimizer:
    """Return Adam with decoupled weight decay (Loshchilov 2019) over a model's trainable parameters."""
    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, bias_lr_factor=1.0)
    return AdamW(groups, lr=lr, betas=betas, fused=_fuses(model))


def raise_rates(optimizer: Optimizer, parameters: Iterable[nn.Parameter], factor: float) -> None:
    """Give some of an optimizer's parameters a rate that is `factor` times that of their group.

    Args:
        optimizer: its groups hold their rate as `base_lr`.
        parameters: which; those that are not the optimizer's are left out.
        factor: such as 10 for layers that start anew beside pretrained ones.
    """
    chosen = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        new = [parameter for parameter in group["params"] if id(parameter) in chosen]
        if not new:
            continue
        rate = group["base_lr"] * factor
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
        optimizer.add_param_group({**group, "params": new, "lr": rate, "base_lr": rate})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def begin_at_rest(optimizer: Optimizer) -> None:
    """Give each weight a momentum of 0, as if it had none; for trainings whose first steps may be skipped.

    PyTorch's fused SGD would take memory that nobody wrote for it after a first step that was skipped.
    """
    for group in optimizer.param_groups:
        if isinstance(optimizer, SGD) and group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def step_decay(at: tuple[float, ...], factor: float) -> Callable[[float], float]:
    """Return a curve that is multiplied by `factor` at each of the steps `at`.

    Example:
        >>> curve = step_decay((10.0, 20.0), 0.1)
        >>> [round(curve(step), 3) for step in (0, 9, 10, 20)]
        [1.0, 1.0, 0.1, 0.01]
    """
    return lambda step: float(factor ** sum(step >= drop for drop in at))


def cosine(total_steps: int, final: float) -> Callable[[float], float]:
    """Return a curve that falls from 1 to `final` along half a cosine (Loshchilov 2017).

    Example:
        >>> curve = cosine(10, 0.0)
        >>> [round(curve(step), 3) for step in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    return lambda step: (
        final + (1 - final) * (1 + math.cos(math.pi * min(step / max(total_steps, 1), 1.0))) / 2
    )


def constant() -> Callable[[float], float]:
    """Return a curve that stays at 1."""
    return lambda step: 1.0


@dataclass(frozen=True)
class Schedule:
    """Share of the learning rate that a step uses: a linear warm-up times a curve.

    It depends on the step alone, so a training that is taken up again needs no state of it, and one
    that is extended on purpose follows the longer curve from where it stands.

    Attributes:
        curve: the share after the warm-up (`step_decay`, `cosine`, `constant`).
        warmup_steps: length of the warm-up; see `warmup_length`.
        warmup_start: share at the first step.
    """

    curve: Callable[[float], float]
    warmup_steps: int
    warmup_start: float

    def __call__(self, step: float) -> float:
        """Return the share at a step, counted from 0; fractions are allowed."""
        if step >= self.warmup_steps:
            return self.curve(step)
        rising = self.warmup_start + (1 - self.warmup_start) * step / self.warmup_steps
        return rising * self.curve(step)


def warmup_length(steps: int, total_steps: int) -> int:
    """Return the length of the warm-up: `steps`, but at most a tenth of the training.

    Example:
        >>> warmup_length(500, 90_000), warmup_length(500, 1_000)
        (500, 100)
    """
    return min(steps, total_steps // 10)


def scaled_lr(lr: float, batch_size: int, reference_batch: int | None) -> tuple[float, str]:
    """Return the learning rate for a batch size, in proportion (Goyal 2017), and a sentence about it.

    Args:
        lr: learning rate for a batch of `reference_batch` images.
        batch_size: images of one optimizer step, over all processes.
        reference_batch: None leaves the rate as it is.

    Example:
        >>> scaled_lr(0.02, 4, 16)
        (0.005, 'learning rate 0.005: 0.02 for 16 images, scaled to a batch of 4')
    """
    if reference_batch is None or reference_batch == batch_size:
        return lr, f"learning rate {lr:g} for a batch of {batch_size}"
    scaled = lr * batch_size / reference_batch
    sentence = f"learning rate {scaled:g}: {lr:g} for {reference_batch} images, scaled to a batch of"
    return scaled, f"{sentence} {batch_size}"


def set_rates(optimizer: Optimizer, share: float) -> float:
    """Set every group's learning rate to a share of its own and return the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share
    return float(optimizer.param_groups[0]["lr"])


def _fuses(model: nn.Module) -> bool | None:
    """Return whether one kernel may update all parameters; None lets PyTorch choose."""
    # PyTorch 2.14 has no fused SGD for parameters that are divided among processes.
    fusing = (p.device.type in ("cpu", "cuda") and not isinstance(p, DTensor) for p in model.parameters())
    return True if all(fusing) else None
