"""Config -> optimizer, schedule and augmentation."""

from __future__ import annotations

from typing import assert_never

from torch import nn
from torch.optim import Optimizer

from detkit.custom import build_custom
from detkit.errors import UserError
from detkit.spec import CustomConfig
from detkit.training.loop import optim
from detkit.training.loop.config import (
    AdamWConfig,
    ConstantScheduleConfig,
    CosineScheduleConfig,
    GradientConfig,
    SGDConfig,
    StepScheduleConfig,
)
from detkit.training.loop.timeline import Timeline


def build_optimizer(train: GradientConfig, model: nn.Module) -> tuple[Optimizer, str]:
    """Return the optimizer, and the sentence that says which learning rate it got and why.

    Raises:
        UserError: a custom optimizer cannot be made or is none.
    """
    spec = train.optimizer
    if isinstance(spec, CustomConfig):
        made = build_custom(spec, params=[p for p in model.parameters() if p.requires_grad])
        if not isinstance(made, Optimizer):
            raise UserError(f"target {spec.target!r}: {type(made).__name__} is not a torch.optim.Optimizer")
        for group in made.param_groups:
            group["base_lr"] = group["lr"]
        return made, f"learning rate {made.param_groups[0]['lr']:g}, from {spec.target}"
    lr, sentence = optim.scaled_lr(spec.lr, train.batch_size, train.reference_batch)
    match spec:
        case SGDConfig():
            return optim.sgd(
                model,
                lr=lr,
                momentum=spec.momentum,
                weight_decay=spec.weight_decay,
                bias_lr_factor=spec.bias_lr_factor,
            ), sentence
        case AdamWConfig():
            return optim.adamw(model, lr=lr, weight_decay=spec.weight_decay, betas=spec.betas), sentence
        case _:
            assert_never(spec)


def build_schedule(train: GradientConfig, timeline: Timeline) -> optim.Schedule:
    """Return the learning rate's course over the training."""
    total = timeline.total
    match train.schedule:
        case StepScheduleConfig(at=at, factor=factor):
            curve = optim.step_decay(tuple(timeline.step(epoch) for epoch in at), factor)
        case CosineScheduleConfig(final=final):
            curve = optim.cosine(total, final)
        case ConstantScheduleConfig():
            curve = optim.constant()
        case _:
            assert_never(train.schedule)
    return optim.Schedule(curve, optim.warmup_length(train.warmup.steps, total), train.warmup.start)
