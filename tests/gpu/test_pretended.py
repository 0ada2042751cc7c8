"""What breaks on a GPU and can be found without one: see `tests.gpu.pretended`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torchvision

from detkit.ops.nms import nms
from tests.gpu.op_cases import CASES
from tests.gpu.pretended import CPU, CUDA, PretendedCuda
from tests.gpu.small_detectors import (
    ROUNDED,
    fit_planes,
    images,
    losses_and_gradients,
    share_found_again,
    small,
    training_batch,
)

NAMES = (
    "cascade_rcnn_resnet18_synthetic",
    "classifier_alexnet_imagenet",
    "dpm_cnn_resnet18_synthetic",
    "faster_rcnn_resnet18_synthetic",
    "faster_rcnn_zfnet_voc07",
    "overfeat_resnet18_synthetic",
)


@pytest.fixture(params=[False, True], ids=["any order", "one order"])
def pretended(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pretend that there is a GPU, with sums in any order, and in one."""
    torch.use_deterministic_algorithms(request.param)
    try:
        with PretendedCuda():
            yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith("nms") else [])
        for name in CASES
        if "convolution" not in name
    ],
)
def test_an_operation_takes_what_is_on_a_gpu(name: str) -> None:
    CASES[name].check(CUDA)


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_learns_and_detects_on_a_gpu(name: str) -> None:
    model, batch = small(name), training_batch(name)
    # Without chance, and without statistics that change: what the two devices compute is compared.
    here, there = model.eval(), copy.deepcopy(model)
    expected = losses_and_gradients(here, batch)
    fit_planes(here)
    found = here.detect(images().images)  # type: ignore[operator]
    torch.use_deterministic_algorithms(True)
    try:
        with PretendedCuda():
            there.to(CUDA)
            given = batch.to(CUDA)
            got = losses_and_gradients(there, given)
            fit_planes(there)
            found_there = [each.to("cpu") for each in there.detect(images().images.to(CUDA))]  # type: ignore[operator]
    finally:
        torch.use_deterministic_algorithms(False)
    for key, value in expected.items():
        assert torch.isfinite(value).all(), key
        limit = ROUNDED * float(value.abs().max())
        torch.testing.assert_close(got[key], value, rtol=0, atol=limit, msg=key)
    assert sum(map(len, found)) > 0
    assert share_found_again(found, found_there) > 0.99
    assert share_found_again(found_there, found) > 0.99


def add(one: Any, other: Any) -> Any:
    return one + other


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda x: add(x, torch.ones(3)), "tensors of cuda and of the cpu"),
        (lambda x: x[torch.tensor([0])], "tensors of cuda and of the cpu"),
        (lambda x: x.numpy(), "can't convert cuda"),
        (lambda x: torch.from_numpy(x.cpu().numpy()) + x, "tensors of cuda and of the cpu"),
        (lambda x: torch.ops.detkit.roi_pool(x.view(1, 3, 1, 1), x, x, 7), "for the CPU alone"),
    ],
)
def test_a_mistake_is_found(mistake: Any, message: str) -> None:
    with PretendedCuda(), pytest.raises((AssertionError, TypeError), match=message):
        mistake(torch.ones(3).to(CUDA))


def test_a_sum_in_any_order_is_found() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        with PretendedCuda():
            maps = torch.ones(1, 2, 5, 5).to(CUDA).requires_grad_()
            pooled = torch.nn.functional.adaptive_max_pool2d(maps, 2)
            with pytest.raises(AssertionError, match="adaptive_max_pool2d_backward"):
                pooled.sum().backward()
            pooled = torchvision.ops.roi_pool(maps, torch.tensor([[0.0, 0, 0, 4, 4]]).to(CUDA), 2)
            with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
                pooled.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_tensor_is_where_it_was_put() -> None:
    with PretendedCuda():
        one = torch.zeros(2, device="cuda:0")
        assert one.device == torch.ones(2).to(CUDA).device == one.new_tensor([1.0]).device == CUDA
        assert torch.ones(2).to(one).device == torch.zeros_like(one).device == (one + 1)[:1].device == CUDA
        assert one.cpu().device == one.to("cpu").device == torch.zeros(1).device == CPU
        assert one.add_(2.0).tolist() == one.to("cpu").tolist() == [2.0, 2.0]
        kept = nms(
            torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8]]).to(CUDA), torch.tensor([0.1, 0.9]).to(CUDA), 0.5
        )
        assert (kept.device, kept.tolist()) == (CUDA, [1])
