"""Each operation gives on a GPU what an independent implementation gives on the CPU."""

from __future__ import annotations

import pytest
import torch

from tests.gpu.op_cases import CASES, IMAGES, OWN, ROUGH, SMALL, regions, roi_align, roi_pool

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", CASES)
def test_equals_another_implementation_on_the_cpu(device: torch.device, name: str) -> None:
    CASES[name].check(device)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.num_learned])
def test_equals_it_where_sums_have_one_order(device: torch.device, name: str) -> None:
    CASES[name].check(device)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_region_features_keep_the_type_of_the_maps(device: torch.device, kind: torch.dtype) -> None:
    own, image = (OWN / 2).to(device), IMAGES.to(device)
    pooled = roi_pool(ROUGH.to(device, kind), own, image, 1 / 8, 7)
    aligned = roi_align(SMALL.to(device, kind), own, image, 1 / 8, 7, 2, True)
    assert pooled.dtype == aligned.dtype == kind
    # Halves are exact in all of these types, so a maximum is the same in each.
    assert torch.equal(pooled.float(), roi_pool(ROUGH.to(device), own, image, 1 / 8, 7))
    assert regions(own, image).device == device
