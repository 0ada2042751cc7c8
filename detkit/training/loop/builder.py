"""Config -> optimizer, schedule and augmentation."""

from __future__ import annotations

from typing import assert_never

from torch import nn
from torch.optim import Optimizer

from detkit.custom import build_custom
from detkit.spec import Custom
from detkit.training.loop.config import SGD, AdamW, ConstantSchedule, CosineSchedule, Gradient, StepSchedule
from detkit.errors import UserError
from detkit.training.loop import optim
from detkit.training.loop.timeline import Timeline


def build_optimizer(train: Gradient, model: nn.Module) -> tuple[Optimizer, str]:
    """Return the optimizer, and the sentence that says which learning rate it got and why.

    Raises:
        UserError: a custom optimizer cannot be made or is none.
    """
    spec = train.optimizer
    if isinstance(spec, Custom):
        made = build_custom(spec, params=[p for p in model.parameters() if p.requires_grad])
        if not isinstance(made, Optimizer):
            raise UserError(f"target {spec.target!r}: {type(made).__name__} is not a torch.optim.Optimizer")
        for group in made.param_groups:
            group["base_lr"] = group["lr"]
        return made, f"learning rate {made.param_groups[0]['lr']:g}, from {spec.target}"
    lr, sentence = optim.scaled_lr(spec.lr, train.batch_size, train.reference_batch)
    match spec:
        case SGD():
            return optim.sgd(
                model,
                lr=lr,
                momentum=spec.momentum,
                weight_decay=spec.weight_decay,
                bias_lr_factor=spec.bias_lr_factor,
            ), sentence
        case AdamW():
            return optim.adamw(model, lr=lr, weight_decay=spec.weight_decay, betas=spec.betas), sentence
        case _:
            assert_never(spec)


def build_schedule(train: Gradient, timeline: Timeline) -> optim.Schedule:
    """Return the learning rate's course over the training."""
    total = timeline.total
    match train.schedule:
        case StepSchedule(at=at, factor=factor):
            curve = optim.step_decay(tuple(timeline.step(epoch) for epoch in at), factor)
        case CosineSchedule(final=final):
            curve = optim.cosine(total, final)
        case ConstantSchedule():
            curve = optim.constant()
        case _:
            assert_never(train.schedule)
    return optim.Schedule(curve, optim.warmup_length(train.warmup.steps, total), train.warmup.start)
