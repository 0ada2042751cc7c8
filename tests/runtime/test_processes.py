from __future__ import annotations

import numpy as np
import pytest
import torch

from detkit.runtime import processes
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


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "world_size", lambda: 2)
    monkeypatch.setattr(processes, "rank", lambda: 1)


@pytest.mark.usefixtures("second_of_two")
def test_the_largest_number_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def reduce(values: torch.Tensor, operation: object) -> None:
        assert operation == torch.distributed.ReduceOp.MAX
        values.clamp_(min=7)

    monkeypatch.setattr(torch.distributed, "all_reduce", reduce)
    assert [processes.most_of_processes(count) for count in (3, 9)] == [7, 9]
    assert processes.any_process(False)


@pytest.mark.usefixtures("second_of_two")
def test_the_first_process_computes_and_its_errors_are_raised_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[object, Exception | None]] = [("there", None)]

    def broadcast(answer: list[object], src: int, device: torch.device) -> None:
        assert (src, device.type) == (0, "cpu")
        if processes.rank() == 0:
            sent[:] = answer
        answer[:] = sent

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    assert processes.from_main(lambda: 1 / 0) == "there"
    monkeypatch.setattr(processes, "rank", lambda: 0)
    assert processes.from_main(lambda: "here") == "here"
    with pytest.raises(ZeroDivisionError):
        processes.from_main(lambda: 1 / 0)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        processes.from_main(lambda: "not asked")


@pytest.mark.usefixtures("second_of_two")
def test_arrays_are_joined_in_the_first_process_in_the_order_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gather_object(arrays: dict[str, np.ndarray], parts: list[object] | None, dst: int) -> None:
        assert dst == 0
        if parts is not None:
            assert len(parts) == 2
            parts[:] = [arrays, {"a": np.array([3])}]

    monkeypatch.setattr(torch.distributed, "gather_object", gather_object)
    assert processes.gather({"a": np.array([1, 2])}) is None
    monkeypatch.setattr(processes, "rank", lambda: 0)
    joined = processes.gather({"a": np.array([1, 2])})
    assert joined is not None
    assert joined["a"].tolist() == [1, 2, 3]
