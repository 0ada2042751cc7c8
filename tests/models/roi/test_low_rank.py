from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from detkit.models.roi.low_rank import low_rank


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (1, 3)])
def test_full_rank_is_the_identity(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, vectors = nn.Linear(*shape), torch.randn(4, shape[0])
    for rank in (min(shape), 100):
        torch.testing.assert_close(low_rank(layer, rank)(vectors), layer(vectors), rtol=1e-5, atol=1e-6)


def test_error_is_that_of_the_singular_values_left_out() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(12, 9)
    first, second = low_rank(layer, 4)
    assert first.bias is None
    assert torch.equal(second.bias, layer.bias)
    rest = (second.weight @ first.weight - layer.weight).norm().item()
    values = np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)
    assert rest == pytest.approx(float(np.sqrt((values[4:] ** 2).sum())), rel=1e-5)


def test_a_layer_without_bias_stays_so() -> None:
    first, second = low_rank(nn.Linear(3, 2, bias=False), 1)
    assert first.bias is None
    assert second.bias is None
