from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from detkit.models.initialisation import Unfilled, gaussian, he_normal, lecun_uniform


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(50, 80, 3), nn.ReLU(), nn.Sequential(nn.Linear(450, 300)), nn.BatchNorm2d(4)
    )


@pytest.mark.parametrize(
    ("fill", "deviation"),
    [
        (he_normal, math.sqrt(2 / 450)),  # He 2015: 2 / fan-in
        (lecun_uniform, math.sqrt(1 / 450)),  # LeCun 1998: 1 / fan-in
        (lambda module: gaussian(module, 0.01), 0.01),
    ],
)
def test_weights_have_the_deviation_of_their_rule_and_biases_are_zero(fill: object, deviation: float) -> None:
    model = layers()
    before = model[3].weight.clone()
    for layer in (model[0], model[2][0]):
        nn.init.ones_(layer.bias)
    fill(model)  # type: ignore[operator]
    for layer in (model[0], model[2][0]):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert layer.weight.mean().item() == pytest.approx(0, abs=deviation / 50)
        assert not layer.bias.any()
    assert torch.equal(model[3].weight, before)


def test_a_uniform_fill_ends_and_a_normal_one_has_tails() -> None:
    model = layers()
    lecun_uniform(model)
    assert model[0].weight.abs().max().item() == pytest.approx(math.sqrt(3 / 450), rel=0.01)
    he_normal(model)
    assert model[0].weight.abs().max().item() > 3.5 * math.sqrt(2 / 450)


def test_unfilled_parameters_draw_nothing_and_everything_else_is_as_ever() -> None:
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    with Unfilled():
        layer = nn.Linear(3, 4)
        he_normal(layer)
    assert torch.equal(torch.random.get_rng_state(), state)
    with Unfilled():
        buffer = torch.zeros(5).normal_()
    assert buffer.unique().numel() == 5
    layer = nn.Linear(3, 4)
    assert not torch.equal(torch.random.get_rng_state(), state)
