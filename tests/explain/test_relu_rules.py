from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.explain.relu_rules import ReluRule, Rule
from tests.detectors.test_every_backbone import ONE_OF_A_KIND, joined

RULES: tuple[Rule, ...] = ("deconvnet", "guided")


class Small(nn.Module):
    """Linear layers with ReLUs of every kind between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(5))
        self.last = nn.Linear(8, 1)
        self.module = nn.ReLU(inplace=True)
        self.cut_off = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, fourth, fifth = self.layers
        x = F.relu(first(x), inplace=True)
        x = self.module(second(x))
        x = third(x).relu_()
        x = torch.relu(fourth(x))
        x = self.cut_off(5 * fifth(x))
        return self.last(x)


def slow_reference(model: Small, x: NDArray[np.float64], rule: Rule) -> NDArray[np.float64]:
    """Return the backward signal, unit by unit."""
    activations, weights = [], [layer.weight.detach().double().numpy() for layer in model.layers]
    weights[4] = 5 * weights[4]
    for number, (layer, weight) in enumerate(zip(model.layers, weights, strict=True)):
        bias = layer.bias.detach().double().numpy() * (5 if number == 4 else 1)
        x = weight @ x + bias
        on = (x > 0) & ((x < 6) if number == 4 else True)
        activations.append(on)
        x = np.minimum(np.maximum(x, 0), 6 if number == 4 else np.inf)
    signal = model.last.weight.detach().double().numpy()[0]
    for on, weight in reversed(list(zip(activations, weights, strict=True))):
        passed = np.zeros(8)
        for unit in range(8):
            if signal[unit] > 0 and (rule == "deconvnet" or on[unit]):
                passed[unit] = signal[unit]
        signal = weight.T @ passed
    return signal


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_are_those_of_a_slow_reference(rule: Rule) -> None:
    model, x = Small(), torch.randn(8, generator=torch.Generator().manual_seed(1))
    plain = model(x)
    given = x.clone().requires_grad_()
    with ReluRule(rule) as applied:
        value = model(given)
    (signal,) = torch.autograd.grad(value.sum(), given)
    assert applied.applied == 5
    assert torch.equal(value, plain)
    np.testing.assert_allclose(signal.numpy(), slow_reference(model, x.double().numpy(), rule), atol=1e-5)
    assert not np.allclose(signal.numpy(), torch.autograd.grad(model(given).sum(), given)[0].numpy())


def nodes(value: Tensor) -> Counter[str]:
    """Count the steps of a backward pass by name."""
    seen: set[Any] = set()
    waiting = [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return Counter(node.name().split("::")[-1] for node in seen)


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_the_rule_applies_to_every_relu_of_a_backbone(name: str) -> None:
    backbone: Any = copy.deepcopy(joined(name, "fast_rcnn", "two_fc", "none").backbone).eval()
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)).requires_grad_()
    plain = backbone(pixels)[-1]
    with ReluRule("guided") as applied:
        ruled = backbone(pixels)[-1]
    before, after = nodes(plain), nodes(ruled)
    assert torch.allclose(plain, ruled, atol=1e-5)
    assert before["ReluBackward0"] + before["HardtanhBackward0"] == after["_RuledBackward"] == applied.applied
    assert after["ReluBackward0"] + after["HardtanhBackward0"] == 0
    assert applied.applied > 0 or name.startswith("efficientnet")
