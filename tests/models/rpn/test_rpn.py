"""Proposals and losses, against what the released code does, written out one anchor at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.models.rpn.padded import propose_padded
from detkit.models.rpn.rpn import RPN, Limits
from detkit.models.rpn.rpn_head import RPNHead
from detkit.models.rpn.traced import PROPOSAL_STEPS, trace_proposals
from detkit.ops.anchors import AnchorGrid
from detkit.ops.sampling import Sampler
from detkit.structures import Target

SIZES = ((70, 90), (64, 96))
CHANNELS = 5


def network(objectness: Any = "sigmoid", **keys: Any) -> RPN:
    torch.manual_seed(0)
    grid = AnchorGrid([[16.0, 32.0]], (0.5, 1.0, 2.0))
    head = RPNHead(CHANNELS, channels=7, num_anchors=grid.num_per_cell[0], objectness=objectness)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return RPN(head, grid, (16,), border_px=None, sampler=Sampler(24, 0.5), **keys)


def maps() -> list[Tensor]:
    return [torch.randn(2, CHANNELS, 5, 6, generator=torch.Generator().manual_seed(1))]


def proposed_by_hand(
    anchors: Tensor, deltas: Tensor, scores: Tensor, size: tuple[int, int], min_size: float, limits: Limits
) -> Tensor:
    """Decode, clip, drop small boxes, sort, take the first, suppress, take the first: in this order."""
    found = []
    for (x1, y1, x2, y2), (dx, dy, dw, dh), score in zip(
        anchors.tolist(), deltas.tolist(), scores.tolist(), strict=True
    ):
        x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
        w, h = (x2 - x1) * math.exp(dw), (y2 - y1) * math.exp(dh)
        left, right = (min(max(edge, 0), size[1]) for edge in (x - w / 2, x + w / 2))
        top, bottom = (min(max(edge, 0), size[0]) for edge in (y - h / 2, y + h / 2))
        if min(right - left, bottom - top) >= min_size:
            found.append((score, left, top, right, bottom))
    found = sorted(found, reverse=True)[: limits.pre_nms]
    kept: list[Any] = []
    for _, *box in found:
        if all(overlap(box, other) <= 0.7 for other in kept):
            kept.append(box)
    return torch.tensor(kept[: limits.post_nms])


def overlap(a: list[float], b: list[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0.0) * max(h, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize("objectness", ["sigmoid", "softmax"])
@pytest.mark.parametrize("limits", [Limits(20, 10), Limits(20, 500), Limits(500, 12)])
def test_small_boxes_go_before_the_best_are_counted(limits: Limits, objectness: str) -> None:
    rpn = network(objectness, min_size_px=16.0)
    with torch.no_grad():
        output = rpn(maps(), SIZES)
    found = rpn.propose(output, SIZES, limits)
    outputs = rpn.head.cls_logits(rpn.head.conv(maps()[0])).detach().permute(0, 2, 3, 1)
    if objectness == "softmax":  # the released layout: all scores of background, then all of objects
        pairs = torch.stack([outputs[..., :6], outputs[..., 6:]], dim=-1)
        outputs = pairs.softmax(dim=-1)[..., 1]
    for number, size in enumerate(SIZES):
        inside = output.inside[0][number]
        given = output.anchors[0], output.deltas[0][number], outputs[number].flatten()
        expected = proposed_by_hand(*(each[inside] for each in given), size, 16.0, limits)
        torch.testing.assert_close(found[number], expected, rtol=1e-4, atol=1e-3)
        assert len(expected) >= 5


def test_of_a_low_objectness_nothing_is_proposed() -> None:
    rpn, limits = network(min_size_px=1.0, score_threshold=0.6), Limits(150, 150)
    rpn.test_limits = limits
    with torch.no_grad():
        output = rpn(maps(), SIZES)
        padded, there = propose_padded(rpn, maps(), torch.tensor(SIZES))
    found, traced = rpn.propose(output, SIZES, limits), trace_proposals(rpn, output, SIZES)
    for number, size in enumerate(SIZES):
        scores = output.logits[0][number].sigmoid()
        high = output.inside[0][number] & (scores >= 0.6)
        given = output.anchors[0][high], output.deltas[0][number][high], scores[high]
        expected = proposed_by_hand(*given, size, 1.0, limits)
        assert 3 <= len(expected) < len(rpn_without_threshold(output, size, number, limits))
        torch.testing.assert_close(found[number], expected, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(padded[number][there[number]], expected, rtol=1e-4, atol=1e-3)
        trace = traced[number]
        torch.testing.assert_close(trace.boxes[trace.proposals], expected, rtol=1e-4, atol=1e-3)
        low = trace.dropped == PROPOSAL_STEPS.index("objectness")
        assert low.any()
        assert (trace.objectness[low] < 0.6).all()
        assert (trace.objectness[trace.dropped > PROPOSAL_STEPS.index("objectness")] >= 0.6).all()


def rpn_without_threshold(output: Any, size: tuple[int, int], number: int, limits: Limits) -> Tensor:
    inside = output.inside[0][number]
    scores = output.logits[0][number].sigmoid()
    given = output.anchors[0][inside], output.deltas[0][number][inside], scores[inside]
    return proposed_by_hand(*given, size, 1.0, limits)


def test_without_a_smallest_size_only_boxes_without_area_go() -> None:
    rpn = network(min_size_px=0.0)
    with torch.no_grad():
        output = rpn(maps(), SIZES)
    output.deltas[0][:, ::2, 2] = -200  # no width is left
    for number, (found, size) in enumerate(
        zip(rpn.propose(output, SIZES, Limits(500, 500)), SIZES, strict=True)
    ):
        rows = output.inside[0][number] & (torch.arange(len(output.anchors[0])) % 2 == 1)
        given = output.anchors[0], output.deltas[0][number], output.logits[0][number]
        expected = proposed_by_hand(*(each[rows] for each in given), size, 1e-6, Limits(500, 500))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def targets() -> list[Target]:
    boxes = torch.tensor([[8.0, 8, 40, 40], [50, 20, 80, 50]]), torch.tensor([[30.0, 4, 60, 60]])
    return [Target.of(own, torch.zeros(len(own), dtype=torch.int64), i) for i, own in enumerate(boxes)]


def sampled(rpn: RPN, output: Any) -> list[tuple[int, int, int]]:
    """Return image, anchor and whether it holds an object of all that trains."""
    rows = []
    for image, choice in enumerate(rpn.sample(output, targets(), SIZES, seed=3)):
        rows += [(image, anchor, 1) for anchor in choice.positives.tolist()]
        rows += [(image, anchor, 0) for anchor in choice.negatives.tolist()]
    return rows


def test_a_softmax_learns_by_its_own_formula() -> None:
    """Its loss is the cross entropy of two outputs; the gradient of each is p less 1 where it is true."""
    rpn = network("softmax")
    output = rpn(maps(), SIZES)
    loss, _ = rpn.losses(output, targets(), SIZES, seed=3)
    loss.backward()
    layer = rpn.head.cls_logits
    hidden = rpn.head.conv(maps()[0]).detach().double().permute(0, 2, 3, 1).flatten(1, 2).numpy()
    weight, bias = layer.weight.detach().double().flatten(1).numpy(), layer.bias.detach().double().numpy()
    expected, grad_weight, grad_bias = 0.0, np.zeros_like(weight), np.zeros_like(bias)
    rows = sampled(rpn, output)
    counts = [sum(image == number for image, _, _ in rows) for number in range(2)]
    assert {truth for _, _, truth in rows} == {0, 1}
    for image, anchor, truth in rows:
        cell, kind = divmod(anchor, 6)
        pair = [kind, 6 + kind]  # background, object
        powers = np.exp(weight[pair] @ hidden[image, cell] + bias[pair])
        p, share = powers / powers.sum(), 1 / counts[image] / 2
        expected -= share * math.log(p[truth])
        for output_of, row in enumerate(pair):
            slope = share * (p[output_of] - (output_of == truth))
            grad_weight[row] += slope * hidden[image, cell]
            grad_bias[row] += slope
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(layer.weight.grad.flatten(1).numpy(), grad_weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.bias.grad.numpy(), grad_bias, rtol=1e-4, atol=1e-6)
    assert np.abs(grad_bias).min() > 1e-4


@pytest.mark.parametrize("shared", [True, False])
def test_two_outputs_lose_as_much_as_their_difference_and_learn_it_twice_as_fast(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RPNHead, "sees_one_window", shared)
    two, one = network("softmax"), network("sigmoid")
    with torch.no_grad():
        one.head.conv.load_state_dict(two.head.conv.state_dict())
        one.head.bbox_pred.load_state_dict(two.head.bbox_pred.state_dict())
        for name, value in one.head.cls_logits.named_parameters():
            a, b = two.head.cls_logits.get_parameter(name).chunk(2)
            value.copy_(b - a)
    losses = [rpn.losses(rpn(maps(), SIZES), targets(), SIZES, seed=3) for rpn in (two, one)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    for each in losses:
        each[0].backward()
    for name, value in one.head.cls_logits.named_parameters():
        grad = two.head.cls_logits.get_parameter(name).grad
        assert grad is not None
        assert value.grad is not None
        background, objects = grad.chunk(2)
        torch.testing.assert_close(objects - background, 2 * value.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        two.head.conv[0][0].weight.grad, one.head.conv[0][0].weight.grad, rtol=1e-4, atol=1e-6
    )


def test_the_sigmoid_of_a_softmaxs_logit_is_its_score() -> None:
    head = network("softmax").head
    outputs = head.cls_logits(head.conv(maps()[0])).permute(0, 2, 3, 1)
    score = F.softmax(outputs.unflatten(3, (2, 6)), dim=3)[:, :, :, 1].flatten(1)
    torch.testing.assert_close(head(maps()[0])[0].sigmoid(), score)


def test_anchors_lie_on_the_padding_too_where_that_is_asked_for() -> None:
    """5 x 6 cells of 16 px are 80 x 96 px: the images end in the fifth row and in the fourth."""
    padded, own = network(over="padding")(maps(), SIZES), network()(maps(), SIZES)
    assert torch.equal(padded.anchors[0], own.anchors[0])
    assert padded.inside[0].all()
    assert own.inside[0].view(2, 5, 6, 6).all(3).sum(2).tolist() == [[6] * 5, [6, 6, 6, 6, 0]]
    spread = network(over="batch")(maps(), SIZES)
    assert spread.inside[0].all()
