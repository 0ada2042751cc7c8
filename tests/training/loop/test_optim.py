from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from detkit.training.loop.optim import (
    Schedule,
    adamw,
    begin_at_rest,
    constant,
    cosine,
    parameter_groups,
    raise_rates,
    scaled_lr,
    set_rates,
    sgd,
    step_decay,
    warmup_length,
)
from tests.training.loop.tiny import tiny_model


def rates_of(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Return (rate, decay) by name of parameter."""
    groups = parameter_groups(model, lr=0.1, weight_decay=5e-4, bias_lr_factor=2.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: (group["base_lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_only_weights_decay_and_only_biases_are_faster() -> None:
    assert rates_of(tiny_model()) == {
        "conv.weight": (0.1, 5e-4),
        "conv.bias": (0.2, 0.0),
        "norm.weight": (0.1, 0.0),
        "norm.bias": (0.1, 0.0),
        "head.weight": (0.1, 5e-4),
        "head.bias": (0.2, 0.0),
    }


def test_frozen_parameters_are_left_out_and_shared_ones_come_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    assert set(rates_of(model)) == {"0.weight", "0.bias"}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_step_follows_the_written_rule(kind: str) -> None:
    model = nn.Linear(3, 2).double()
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    if kind == "sgd":
        optimizer = sgd(model, lr=0.1, momentum=0.9, weight_decay=0.01, bias_lr_factor=2.0)
    else:
        optimizer = adamw(model, lr=0.1, weight_decay=0.01, betas=(0.9, 0.99))
    set_rates(optimizer, 0.5)
    velocity, squares = [0.0, 0.0], [0.0, 0.0]
    for step in range(1, 4):
        optimizer.zero_grad()
        (model(torch.full((1, 3), 0.3 * step, dtype=torch.float64)) ** 2).sum().backward()
        for i, (value, parameter, decay) in enumerate(
            [(weight, model.weight, 0.01), (bias, model.bias, 0.0)]
        ):
            gradient = parameter.grad.clone()
            if kind == "sgd":
                velocity[i] = 0.9 * velocity[i] + gradient + decay * value
                value.sub_(0.05 * (2 if i else 1) * velocity[i])
            else:
                velocity[i] = 0.9 * velocity[i] + 0.1 * gradient
                squares[i] = 0.99 * squares[i] + 0.01 * gradient**2
                mean, square = velocity[i] / (1 - 0.9**step), squares[i] / (1 - 0.99**step)
                value.sub_(0.05 * decay * value)
                value.sub_(0.05 * mean / (square.sqrt() + 1e-8))
        optimizer.step()
        torch.testing.assert_close(model.weight.detach(), weight)
        torch.testing.assert_close(model.bias.detach(), bias)


def test_the_warm_up_rises_in_a_line_to_the_curve() -> None:
    schedule = Schedule(constant(), 10, 0.001)
    assert [schedule(step) for step in (0, 5, 10, 99)] == pytest.approx([0.001, 0.5005, 1.0, 1.0])
    cosined = Schedule(cosine(100, 0.0), 10, 0.1)
    assert cosined(5) == pytest.approx(0.55 * 0.5 * (1 + math.cos(math.pi * 0.05)))
    assert Schedule(constant(), 0, 0.001)(0) == 1.0


def test_curves_at_and_between_their_corners() -> None:
    steps = step_decay((80.0, 110.5), 0.1)
    assert [steps(step) for step in (0, 79.9, 80, 110, 111)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    falling = cosine(100, 0.2)
    assert [falling(step) for step in (0, 25, 50, 100, 150)] == pytest.approx(
        [1, 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2, 0.6, 0.2, 0.2]
    )


def test_the_warm_up_is_at_most_a_tenth_of_the_training() -> None:
    assert [warmup_length(500, total) for total in (5, 100, 90_000)] == [0, 10, 500]


def test_the_rate_is_scaled_to_the_batch_and_says_so() -> None:
    assert scaled_lr(0.02, 32, 16) == (
        0.04,
        "learning rate 0.04: 0.02 for 16 images, scaled to a batch of 32",
    )
    assert scaled_lr(0.02, 16, 16) == (0.02, "learning rate 0.02 for a batch of 16")
    assert scaled_lr(0.01, 2, None) == (0.01, "learning rate 0.01 for a batch of 2")


def test_what_has_no_momentum_has_none_at_the_start_either() -> None:
    model = tiny_model()
    for optimizer in (
        sgd(model, lr=0.1, momentum=0.0, weight_decay=0.0, bias_lr_factor=1.0),
        adamw(model, lr=0.1, weight_decay=0.0, betas=(0.9, 0.99)),
    ):
        begin_at_rest(optimizer)
        assert not optimizer.state
    with_momentum = sgd(model, lr=0.1, momentum=0.5, weight_decay=0.0, bias_lr_factor=1.0)
    begin_at_rest(with_momentum)
    assert set(with_momentum.state) == set(model.parameters())
    for parameter, values in with_momentum.state.items():
        assert torch.equal(values["momentum_buffer"], torch.zeros_like(parameter))


def test_the_rates_of_some_parameters_are_raised_and_nothing_else_changes() -> None:
    model = tiny_model()
    optimizer = sgd(model, lr=0.1, momentum=0.9, weight_decay=5e-4, bias_lr_factor=2.0)
    others = nn.Linear(2, 2)
    raise_rates(optimizer, [*model.head.parameters(), *model.norm.parameters(), *others.parameters()], 10.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {
        names[p]: (
            round(group["base_lr"], 6),
            round(group["lr"], 6),
            group["weight_decay"],
            group["momentum"],
        )
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found == {
        "conv.weight": (0.1, 0.1, 5e-4, 0.9),
        "conv.bias": (0.2, 0.2, 0.0, 0.9),
        "norm.weight": (1.0, 1.0, 0.0, 0.9),
        "norm.bias": (1.0, 1.0, 0.0, 0.9),
        "head.weight": (1.0, 1.0, 5e-4, 0.9),
        "head.bias": (2.0, 2.0, 0.0, 0.9),
    }
    assert all(group["params"] for group in optimizer.param_groups)
    assert set_rates(optimizer, 0.5) == 0.05  # of the first group, the weights
