from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from detkit.ops.boxes import pairwise_iou
from detkit.training.staged.ridge import CODER, BoxRegressor, RidgeMoments, box_examples
from tests.reference.ridge import encode, fit_and_predict


def made_examples(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Features of norm 20 or so, and targets that depend on them, whose coordinates go together."""
    generator = torch.Generator().manual_seed(count)
    features = torch.randn((count, size), generator=generator).abs()
    features *= 20 / features.norm(dim=1).mean()
    mix = torch.randn((size, 4), generator=generator) * 0.02
    targets = (
        features @ mix + 0.05 * torch.randn((count, 4), generator=generator) + torch.tensor([0.3, 0, 0, 1])
    )
    targets[:, 1] += 0.8 * targets[:, 0]
    return features, targets


def regressor(features: Tensor, targets: Tensor, ridge: float, at_a_time: int) -> BoxRegressor:
    moments = RidgeMoments(features.shape[1])
    for rows, wanted in zip(features.split(at_a_time), targets.split(at_a_time), strict=True):
        moments.add(rows, wanted)
    return moments.solve(ridge)


@pytest.mark.parametrize("ridge", [1000.0, 1.0])
@pytest.mark.parametrize("count", [5, 40, 41, 300])  # fewer and more than features: two ways to the same end
def test_agrees_with_the_papers_procedure(count: int, ridge: float) -> None:
    features, targets = made_examples(count, 40)
    asked, _ = made_examples(7, 40)
    found = regressor(features, targets, ridge, at_a_time=13)
    expected = fit_and_predict(
        *(t.double().numpy() for t in (features, targets)), ridge, asked.double().numpy()
    )
    predicted = asked.double() @ found.weights + found.bias
    np.testing.assert_allclose(predicted.numpy(), expected, rtol=1e-8, atol=1e-9)


def test_many_examples_are_summed_up_in_blocks() -> None:
    features, targets = made_examples(3000, 6)
    whole, parts = regressor(features, targets, 10.0, 3000), regressor(features, targets, 10.0, 7)
    torch.testing.assert_close(whole.weights, parts.weights, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(whole.bias, parts.bias, rtol=1e-9, atol=1e-12)


def test_the_constant_is_pulled_to_zero_too_and_the_mean_is_not() -> None:
    features, targets = made_examples(50, 8)
    strong = regressor(features, targets, 1e12, 50)
    assert strong.weights.abs().max() < 1e-6
    torch.testing.assert_close(strong.bias, targets.double().mean(0), rtol=1e-6, atol=1e-6)


def test_gathered_features_may_be_overwritten_by_the_caller() -> None:
    features, targets = made_examples(10, 4)
    moments, kept = RidgeMoments(4), features.clone()
    moments.add(features, targets)
    features.zero_()
    torch.testing.assert_close(moments.solve(1.0).weights, regressor(kept, targets, 1.0, 10).weights)


def test_without_examples_boxes_stay_as_they_are() -> None:
    moments = RidgeMoments(3)
    moments.add(torch.zeros(0, 3), torch.zeros(0, 4))
    found = moments.solve(1000.0)
    assert len(moments) == 0
    assert not found.weights.any()
    assert not found.bias.any()


def test_examples_lie_on_the_best_object_of_all_classes() -> None:
    objects = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 80]])
    boxes = torch.tensor([[0.0, 0, 100, 95], [0, 0, 100, 82], [0, 0, 100, 100], [50, 50, 150, 150]])
    examples = box_examples(boxes, objects, torch.tensor([4, 2]), 0.6)
    assert examples.rows.tolist() == [0, 1, 2]
    assert examples.labels.tolist() == [4, 2, 4]
    assert examples.targets[2].tolist() == [0.0, 0.0, 0.0, 0.0]  # the object itself


@pytest.mark.parametrize("side", [60.0, 80.0])
def test_the_limit_itself_is_too_little(side: float) -> None:
    objects, boxes = torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([[0.0, 0, 100, side]])
    iou = pairwise_iou(boxes, objects).item()
    labels = torch.tensor([0])
    assert len(box_examples(boxes, objects, labels, iou).rows) == 0
    assert len(box_examples(boxes, objects, labels, iou - 1e-3).rows) == 1


def test_targets_are_those_of_the_paper_whose_sides_have_no_extra_pixel() -> None:
    region, box = [10.0, 20.0, 20.0, 60.0], [11.0, 20.0, 21.0, 80.0]
    targets = CODER.encode(torch.tensor([box]), torch.tensor([region]))[0]
    np.testing.assert_allclose(targets.numpy(), encode(np.array(box), np.array(region)), rtol=1e-5)
    assert targets[0].item() == pytest.approx(0.1)  # one pixel of ten, not of eleven


def test_a_box_without_area_has_finite_targets() -> None:
    flat = torch.tensor([[5.0, 5.0, 5.0, 9.0]])
    assert CODER.encode(flat, flat).tolist() == [[0.0, 0.0, 0.0, 0.0]]
    assert CODER.encode(torch.tensor([[4.0, 4.0, 8.0, 9.0]]), flat).isfinite().all()


def test_an_image_without_objects_has_no_examples() -> None:
    examples = box_examples(torch.rand(3, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0.6)
    assert examples.rows.dtype == torch.int64
    assert examples.targets.shape == (0, 4)


@pytest.mark.parametrize("count", [5, 40, 60])  # kept as they are, and summed up
def test_solving_changes_nothing_and_more_examples_may_follow(count: int) -> None:
    features, targets = made_examples(80, 40)
    moments = RidgeMoments(40)
    moments.add(features[:count], targets[:count])
    first, again, other = moments.solve(10.0), moments.solve(10.0), moments.solve(1000.0)
    assert torch.equal(first.weights, again.weights)
    assert torch.equal(first.bias, again.bias)
    assert not torch.allclose(first.weights, other.weights)
    moments.add(features[count:], targets[count:])
    found, whole = moments.solve(10.0), regressor(features, targets, 10.0, 80)
    torch.testing.assert_close(found.weights, whole.weights, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(found.bias, whole.bias, rtol=1e-8, atol=1e-11)
