from __future__ import annotations

import pytest
import torch

from detkit.runtime.session import Session

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "name", "computed"),
    [(None, "fp32", torch.float32), (torch.bfloat16, "bfloat16", torch.bfloat16)],
)
def test_the_arithmetic_of_a_session(precision: torch.dtype | None, name: str, computed: torch.dtype) -> None:
    run = Session(CPU, precision)
    assert run.precision_name == name
    with run.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == computed


def test_only_a_gpu_copies_from_page_locked_memory() -> None:
    assert Session(torch.device("cuda:0")).pin_memory
    assert not Session(CPU).pin_memory
