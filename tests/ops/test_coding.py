from __future__ import annotations

import math

import pytest
import torch
import torchvision.models.detection._utils as peer

from detkit.ops.coding import MAX_LOG_SCALE, BoxCoder
from tests.reference.overlaps import random_boxes

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def test_a_case_by_hand() -> None:
    reference = torch.tensor([[10.0, 20.0, 30.0, 60.0]])  # centre 20, 40; 20 wide, 40 high
    box = torch.tensor([[20.0, 30.0, 40.0, 40.0]])  # centre 30, 35; 20 wide, 10 high
    expected = torch.tensor([[0.5 * 10, -5 / 40 * 10, 0.0, math.log(0.25) * 5]])
    torch.testing.assert_close(BoxCoder(WEIGHTS).encode(box, reference), expected)


def test_equals_torchvision() -> None:
    boxes, references = torch.tensor(random_boxes(20, 0)), torch.tensor(random_boxes(20, 1))
    coder, other = BoxCoder(WEIGHTS), peer.BoxCoder(WEIGHTS)
    torch.testing.assert_close(coder.encode(boxes, references), other.encode_single(boxes, references))
    deltas = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)) * 20
    torch.testing.assert_close(coder.decode(deltas, references), other.decode_single(deltas, references))


def test_decode_undoes_encode() -> None:
    boxes, references = torch.tensor(random_boxes(50, 2)), torch.tensor(random_boxes(50, 3))
    coder = BoxCoder(WEIGHTS)
    torch.testing.assert_close(coder.decode(coder.encode(boxes, references), references), boxes)


def test_several_boxes_for_each_reference() -> None:
    references = torch.tensor(random_boxes(6, 4))
    deltas = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(1))
    together = BoxCoder(WEIGHTS).decode(deltas, references)
    for column in range(3):
        assert torch.equal(together[:, column], BoxCoder(WEIGHTS).decode(deltas[:, column], references))


def test_growth_is_limited_after_the_weight_is_taken_off() -> None:
    box = BoxCoder(WEIGHTS).decode(
        torch.tensor([[0.0, 0.0, 1e6, 5.0]]), torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    )
    assert box[0, 2] - box[0, 0] == pytest.approx(1000.0)
    assert box[0, 3] - box[0, 1] == pytest.approx(16 * math.e)
    assert math.exp(MAX_LOG_SCALE) == pytest.approx(62.5)


def test_flat_references_stay_finite() -> None:
    flat = torch.tensor([[5.0, 5.0, 5.0, 5.0]])
    assert BoxCoder(WEIGHTS).encode(flat + 1, flat).isfinite().all()


@pytest.mark.parametrize(("given", "computed"), [("bfloat16", "float32"), ("float64", "float64")])
def test_computes_in_float32_at_least(given: str, computed: str) -> None:
    dtype = getattr(torch, given)
    decoded = BoxCoder(WEIGHTS).decode(torch.zeros(2, 4, dtype=dtype), torch.ones(2, 4, dtype=dtype))
    assert decoded.dtype == getattr(torch, computed)


def test_empty() -> None:
    assert BoxCoder(WEIGHTS).encode(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)
    assert BoxCoder(WEIGHTS).decode(torch.zeros(0, 5, 4), torch.zeros(0, 4)).shape == (0, 5, 4)


def test_gradients() -> None:
    references = torch.tensor(random_boxes(3, 5), dtype=torch.float64)
    deltas = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: BoxCoder(WEIGHTS).decode(d, references), (deltas,))
