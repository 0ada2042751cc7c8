from __future__ import annotations

import pytest
import torch

from detkit.runtime.processes import mean_over_processes, process_group


def test_a_gpu_that_is_named_is_the_one_whose_memory_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    with process_group(torch.device("cuda:1")):
        assert chosen == [torch.device("cuda:1")]
    with process_group(torch.device("cpu")):
        assert len(chosen) == 1


def test_the_mean_over_processes_leaves_the_callers_values_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.runtime.processes.world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.mul_(6))
    values = torch.tensor([2.0, 4.0])
    assert mean_over_processes(values).tolist() == [3, 6]
    assert values.tolist() == [2, 4]
