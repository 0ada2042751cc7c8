from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from detkit.errors import UserError
from detkit.runtime.processes import (
    any_process,
    barrier,
    from_main,
    gather,
    mean_over_processes,
    process_group,
    rank,
    world_size,
)
from tests.reliability.meeting import meeting
from tests.reliability.tiny_training import CONTEXT


def _answers(folder: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with process_group(torch.device("cpu")):
        own = rank()
        arrays = {"images": np.arange(own + 1), "boxes": np.full((own + 1, 4), float(own))}
        together = gather(arrays)
        calls: list[int] = []
        try:
            from_main(lambda: _refuse(own))
            refusal = ""
        except UserError as error:
            refusal = str(error)
        barrier()
        answers = {
            "world_size": world_size(),
            "any": [any_process(own == 1), any_process(False)],
            "mean": mean_over_processes(torch.tensor([1.0 + own, 4.0])).tolist(),
            "from_main": from_main(lambda: calls.append(own) or 10 + own),
            "calls": calls,
            "refusal": refusal,
            "gathered": together and {name: value.tolist() for name, value in together.items()},
        }
        (folder / f"{own}.json").write_text(json.dumps(answers))


def _refuse(own: int) -> None:
    raise UserError(f"process {own} found it")


@pytest.mark.slow
@pytest.mark.local_sockets
def test_two_processes_agree(tmp_path: Path) -> None:
    processes = [CONTEXT.Process(target=_answers, args=(tmp_path, place)) for place in meeting(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    first, second = (json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2))
    expected = {
        "world_size": 2,
        "any": [True, False],
        "mean": [1.5, 4.0],
        "from_main": 10,
        "refusal": "process 0 found it",
    }
    assert first == expected | {
        "calls": [0],
        "gathered": {"images": [0, 0, 1], "boxes": [[0.0] * 4, [1.0] * 4, [1.0] * 4]},
    }
    assert second == expected | {"calls": [], "gathered": None}


def test_one_process_needs_no_one() -> None:
    with process_group(torch.device("cpu")):
        assert (rank(), world_size()) == (0, 1)
        assert not torch.distributed.is_initialized()
        assert from_main(lambda: 3) == 3
        assert any_process(True)
        barrier()
        arrays = {"images": np.arange(2)}
        assert gather(arrays) == arrays
