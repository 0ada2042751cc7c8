"""What the losses hear of a few anchors, against what the convolutions say about all of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.models.rpn.rpn_head import Objectness, RPNHead


def maps_of(kind: torch.dtype, *sizes: tuple[int, int]) -> list[Tensor]:
    torch.manual_seed(0)
    drawn = [torch.randn(2, 6, *size, dtype=kind) for size in sizes]
    return [each.contiguous(memory_format=torch.channels_last).requires_grad_() for each in drawn]


def head(num_convs: int = 1, objectness: Objectness = "sigmoid") -> RPNHead:
    torch.manual_seed(1)
    made = RPNHead(6, channels=5, num_convs=num_convs, num_anchors=3, objectness=objectness)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made.double()


@pytest.mark.parametrize("objectness", ["sigmoid", "softmax"])
@pytest.mark.parametrize("sizes", [((4, 5), (2, 3), (1, 1)), ((3, 7),), ((1, 4), (4, 1))])
def test_few_anchors_get_the_numbers_and_gradients_of_all(
    sizes: tuple[tuple[int, int], ...], objectness: Objectness
) -> None:
    maps, said_by = maps_of(torch.float64, *sizes), head(objectness=objectness)
    all_said = [said_by(features) for features in maps]
    logits, deltas = (torch.cat([said[i] for said in all_said], 1) for i in (0, 1))
    num = logits.shape[1]
    image = torch.arange(2).repeat_interleave(num)
    anchor = torch.arange(num).repeat(2)
    chosen = torch.cat([torch.randperm(2 * num), torch.tensor([0, 0])])  # every one, and one three times
    image, anchor = image[chosen], anchor[chosen]

    found = said_by.say_about(maps, image, anchor)
    expected = logits[image, anchor], deltas[image, anchor]
    learned = [*maps, *said_by.parameters()]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # both are float32
        grad = torch.randn_like(theirs)
        gradients = [
            torch.autograd.grad(each, learned, grad, allow_unused=True, retain_graph=True)
            for each in (ours, theirs)
        ]
        for a, b in zip(*gradients, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_no_anchors_leave_gradients_of_zero() -> None:
    maps, said_by = maps_of(torch.float64, (4, 5)), head()
    none = torch.zeros(0, dtype=torch.int64)
    logits, deltas = said_by.say_about(maps, none, none)
    assert (logits.shape, deltas.shape) == ((0,), (0, 4))
    (logits.sum() + deltas.sum()).backward()
    for each in [*maps, *said_by.parameters()]:
        assert each.grad is not None
        assert not each.grad.any()


def test_two_convolutions_see_more_than_a_window() -> None:
    assert head().sees_one_window
    assert not head(2).sees_one_window


@pytest.mark.parametrize("objectness", ["sigmoid", "softmax"])
def test_it_computes_as_autocast_wants(objectness: Objectness) -> None:
    maps, said_by = maps_of(torch.float32, (4, 5)), head(objectness=objectness).float()
    everything = torch.arange(60)
    with torch.autocast("cpu", torch.bfloat16):
        logits, deltas = said_by.say_about(maps, torch.zeros_like(everything), everything)
        dense = said_by(maps[0])
    assert logits.dtype == deltas.dtype == torch.float32
    assert F.l1_loss(logits, dense[0][0]) < 0.05
    assert F.l1_loss(deltas, dense[1][0]) < 0.05
