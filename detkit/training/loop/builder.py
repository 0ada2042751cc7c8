"""Optimizer and schedule of a config -> objects."""

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
    AnyOptimizerConfig,
    ConstantScheduleConfig,
    CosineScheduleConfig,
    GradientConfig,
    SGDConfig,
    StepScheduleConfig,
)
from detkit.training.loop.timeline import Timeline


def build_optimizer(
    config: AnyOptimizerConfig, model: nn.Module, *, batch_size: int = 1, reference_batch: int | None = None
) -> tuple[Optimizer, str]:
    """Return the optimizer, and the sentence that says which learning rate it got and why.

    Args:
        config: the update rule.
        model: what is trained.
        batch_size: images, or regions, of one step.
        reference_batch: the batch size that the learning rate is meant for; None leaves it as it is.

    Raises:
        UserError: a custom optimizer cannot be made or is none.
    """
    if isinstance(config, CustomConfig):
        made = build_custom(config, params=[p for p in model.parameters() if p.requires_grad])
        if not isinstance(made, Optimizer):
            raise UserError(f"target {config.target!r}: {type(made).__name__} is not a torch.optim.Optimizer")
        for group in made.param_groups:
            group["base_lr"] = group["lr"]
        return made, f"learning rate {made.param_groups[0]['lr']:g}, from {config.target}"
    lr, sentence = optim.scaled_lr(config.lr, batch_size, reference_batch)
    match config:
        case SGDConfig():
            return optim.sgd(
                model,
                lr=lr,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                bias_lr_factor=config.bias_lr_factor,
            ), sentence
        case AdamWConfig():
            return optim.adamw(model, lr=lr, weight_decay=config.weight_decay, betas=config.betas), sentence
        case _:
            assert_never(config)


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
