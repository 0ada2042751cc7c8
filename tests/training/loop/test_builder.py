from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from detkit.errors import UserError
from detkit.spec import CustomConfig
from detkit.training.loop.builder import build_optimizer, build_schedule
from detkit.training.loop.config import (
    AdamWConfig,
    AnyScheduleConfig,
    ConstantScheduleConfig,
    CosineScheduleConfig,
    GradientConfig,
    SGDConfig,
    StepScheduleConfig,
    WarmupConfig,
)
from detkit.training.loop.timeline import Timeline


def model() -> nn.Module:
    made = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    made[0].requires_grad_(False)
    return made


def own(name: str, **args: object) -> CustomConfig:
    return CustomConfig(type="custom", target=name, args=args)


def test_an_optimizer_of_the_users_own_has_what_is_trained_and_its_own_rate() -> None:
    net = model()
    made, said = build_optimizer(own("torch.optim:Rprop", lr=0.25), net, batch_size=4, reference_batch=2)
    assert isinstance(made, torch.optim.Rprop)
    assert made.param_groups[0]["params"] == list(net[1].parameters())
    assert made.param_groups[0]["base_lr"] == 0.25
    assert said == "learning rate 0.25, from torch.optim:Rprop"


def test_what_is_no_optimizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_no_optimizer.py").write_text("def make(params):\n    return params\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError) as told:
        build_optimizer(own("my_no_optimizer:make"), model())
    assert str(told.value) == "target 'my_no_optimizer:make': list is not a torch.optim.Optimizer"


def test_optimizers_have_the_values_of_their_configs() -> None:
    spec = SGDConfig(type="sgd", lr=0.1, momentum=0.7, weight_decay=0.3, bias_lr_factor=2.0)
    made, said = build_optimizer(spec, model(), batch_size=4, reference_batch=8)
    assert said == "learning rate 0.05: 0.1 for 8 images, scaled to a batch of 4"
    groups = [(group["lr"], group["weight_decay"], group["momentum"]) for group in made.param_groups]
    assert groups == [(0.05, 0.3, 0.7), (0.1, 0.0, 0.7)]
    made, _ = build_optimizer(
        AdamWConfig(type="adamw", lr=0.1, weight_decay=0.3, betas=(0.5, 0.6)), model(), batch_size=4
    )
    groups = [(group["lr"], group["weight_decay"], group["betas"]) for group in made.param_groups]
    assert groups == [(0.1, 0.3, (0.5, 0.6)), (0.1, 0.0, (0.5, 0.6))]


def cosine_at(step: int) -> float:
    return 0.6 + 0.4 * math.cos(math.pi * step / 300)


@pytest.mark.parametrize(
    ("spec", "shares"),
    [
        (StepScheduleConfig(type="step", at=(1.0, 2.5), factor=0.5), [1, 1, 0.5, 0.5, 0.25]),
        (
            CosineScheduleConfig(type="cosine", final=0.2),
            [cosine_at(step) for step in (10, 99, 100, 249, 250)],
        ),
        (ConstantScheduleConfig(type="constant"), [1, 1, 1, 1, 1]),
    ],
)
def test_schedules_are_counted_in_epochs(spec: AnyScheduleConfig, shares: list[float]) -> None:
    train = GradientConfig(
        type="gradient",
        optimizer=SGDConfig(type="sgd", lr=0.1),
        schedule=spec,
        warmup=WarmupConfig(steps=10, start=0.1),
    )
    schedule = build_schedule(train, Timeline([100, 100, 100]))
    assert (schedule.warmup_steps, schedule.warmup_start) == (10, 0.1)
    assert [schedule(step) for step in (10, 99, 100, 249, 250)] == pytest.approx(shares)
    few = build_schedule(train, Timeline([20, 20]))
    assert few.warmup_steps == 4
