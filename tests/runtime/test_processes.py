from __future__ import annotations

import pytest
import torch

from detkit.runtime.processes import process_group


def test_a_gpu_that_is_named_is_the_one_whose_memory_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    with process_group(torch.device("cuda:1")):
        assert chosen == [torch.device("cuda:1")]
    with process_group(torch.device("cpu")):
        assert len(chosen) == 1
