from __future__ import annotations

import numpy as np
import pytest
import torch

from detkit.models.roi.decision import RidgeDeltas, StagedDecision, SVMScores
from detkit.models.roi.selection import CODER
from detkit.training.staged.ridge import RidgeMoments


def test_scores_rise_with_the_margins_of_scaled_vectors() -> None:
    chance = np.random.default_rng(0)
    weights, bias = chance.standard_normal((3, 6)), np.array([0.3, 9.0, -0.2])
    scores = SVMScores(6, 3)
    scores.fill(torch.from_numpy(weights), torch.from_numpy(bias), [True, False, True], scale=0.5)
    vectors = torch.rand(20, 6)
    found = scores(vectors)
    for label in (0, 2):
        margins = 0.5 * vectors.double().numpy() @ weights[label] + bias[label]
        torch.testing.assert_close(found[:, label], torch.from_numpy(margins).sigmoid().float())
    assert found[:, 1].max() < 1e-8
    assert not any(parameter.requires_grad for parameter in scores.parameters())


def test_an_unlearned_module_finds_nothing_and_moves_nothing() -> None:
    vectors = torch.rand(2, 6)
    assert SVMScores(6, 3)(vectors).max() < 1e-8
    assert not RidgeDeltas(6, 3)(vectors).any()


def test_deltas_are_the_regressors_of_scaled_features() -> None:
    torch.manual_seed(0)
    features, targets = torch.rand(30, 5), torch.randn(30, 4)
    moments = RidgeMoments(5)
    moments.add(features * 2, targets)
    regressor = moments.solve(1.0)
    deltas = RidgeDeltas(5, 2)
    blank = RidgeMoments(5).solve(1.0)
    both = [
        torch.stack(pair) for pair in ((blank.weights.T, regressor.weights.T), (blank.bias, regressor.bias))
    ]
    deltas.fill(*both, scale=2.0)
    found = deltas(features)
    assert not found[:, 0].any()
    expected = 2 * features.double() @ regressor.weights + regressor.bias
    torch.testing.assert_close(found[:, 1], expected.float())
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(30, 1)
    assert CODER.decode(found, boxes).shape == (30, 2, 4)


def test_autocast_leaves_the_decision_in_float32() -> None:
    scores, vectors = SVMScores(6, 1), torch.rand(4, 6)
    weights = torch.full((1, 6), 0.123456789, dtype=torch.float64)
    scores.fill(weights, torch.zeros(1, dtype=torch.float64), [True], 1.0)
    plain = scores(vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scores(vectors), plain)


def test_fine_tuning_begins_with_the_papers_last_layer() -> None:
    """Girshick 2014's code: weights from a normal distribution of deviation 0.01, and no bias."""
    torch.manual_seed(0)
    layer = StagedDecision({"pool5": 300, "fc7": 400}, 20).classifier
    assert layer.weight.shape == (21, 400)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not layer.bias.any()
