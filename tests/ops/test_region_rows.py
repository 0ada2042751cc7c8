from __future__ import annotations

import pytest
import torch

from detkit.ops.region_rows import region_rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(40, 37, 7, 7), (3, 16, 1, 5), (1, 1, 2, 2), (0, 8, 7, 7)])
def test_is_flatten(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    regions = torch.randn(shape).to(dtype)
    for given in (regions, regions.contiguous(memory_format=torch.channels_last)):
        rows = region_rows(given)
        assert torch.equal(rows, regions.flatten(1))
        assert rows.is_contiguous()
        assert rows.dtype == dtype


def test_gradients_and_threads() -> None:
    torch.manual_seed(0)
    regions = torch.randn(50, 5, 3, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    weights, before = torch.randn(50, 30), torch.get_num_threads()
    (expected,) = torch.autograd.grad((regions.flatten(1) * weights).sum(), regions)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        rows = region_rows(regions)
        torch.set_num_threads(before)
        assert torch.equal(rows, regions.flatten(1))
        assert torch.equal(torch.autograd.grad((rows * weights).sum(), regions)[0], expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
def test_the_operator_is_what_it_says() -> None:
    regions = torch.randn(4, 5, 3, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(torch.ops.detkit.region_rows.default, (regions,))
