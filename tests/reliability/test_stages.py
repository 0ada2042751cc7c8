"""Stages of several processes, and stages that are killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from detkit.runtime.processes import process_group, rank
from detkit.training.staged.stages import Stages
from tests.reliability.meeting import meeting
from tests.reliability.tiny_training import CONTEXT

LINES = 20


def _count(folder: Path, pause_s: float) -> None:
    def make(path: Path) -> None:
        path.mkdir(exist_ok=True)
        done = len(list(path.iterdir()))
        for number in range(done, LINES):
            while pause_s and number > 5:  # the one that is to be killed waits for it
                time.sleep(pause_s)
            time.sleep(pause_s)
            (path / f"{number:03d}").write_text(f"{number}")

    Stages(folder, ("count",), lambda text: None).run("count", {"lines": LINES}, make)


def _together(folder: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with process_group(torch.device("cpu")):
        stages = Stages(folder, ("first", "second"), lambda text: None)

        def make(path: Path) -> None:
            path.mkdir(exist_ok=True)
            time.sleep(0.2 * rank())
            (path / str(rank())).write_text("")

        first = stages.run("first", {}, make)
        second = stages.run("second", {"first": first}, make)
        for every in (first, second):
            assert sorted(file.name for file in every.path.iterdir()) == ["0", "1"]
        (folder / f"{rank()}.done").write_text("")


@pytest.mark.slow
def test_a_killed_stage_goes_on_where_it_was(tmp_path: Path) -> None:
    process = CONTEXT.Process(target=_count, args=(tmp_path, 0.05))
    process.start()
    while not list(tmp_path.glob("stages/.count-*.part/003")):
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not list(tmp_path.glob("stages/count-*"))
    written = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("stages/.count-*.part/00[0-3]")}
    _count(tmp_path, 0.0)
    (made,) = (tmp_path / "stages").iterdir()
    assert len(list(made.iterdir())) == LINES
    assert {name: (made / name).stat().st_mtime_ns for name in written} == written


@pytest.mark.slow
@pytest.mark.local_sockets
def test_two_processes_make_a_stage_together(tmp_path: Path) -> None:
    processes = [CONTEXT.Process(target=_together, args=(tmp_path, place)) for place in meeting(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "0.done").exists()
    assert (tmp_path / "1.done").exists()
