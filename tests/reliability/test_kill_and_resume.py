from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from detkit.training.loop.checkpoint import read_checkpoint
from tests.reliability.meeting import meeting
from tests.reliability.tiny_training import run, start
from tests.training.loop.tiny import STEPS, assert_same


def result(folder: Path) -> dict[str, torch.Tensor]:
    content: dict[str, torch.Tensor] = torch.load(folder / "weights.pt", weights_only=True)
    return content


def wait_for_a_step(folder: Path, process: BaseProcess) -> None:
    while not (folder / "steps").read_text():
        assert process.is_alive() or (folder / "steps").read_text()
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole, 20) == ""
    rng, kills = random.Random(1), 0
    for attempt in range(20):
        resumes = (killed / "last.pt").exists()
        process = start(killed, 20, save_every=1, step_s=0.01, resumes=resumes)
        if attempt < 12:
            wait_for_a_step(killed, process)
            time.sleep(rng.uniform(0.0, 0.05))
            process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if (killed / "last.pt").exists():
            read_checkpoint(killed / "last.pt")
        if (killed / "weights.pt").exists():
            break
    assert kills >= 5
    assert_same(result(whole), result(killed))
    assert not list(killed.glob(".*"))


@pytest.mark.slow
def test_ctrl_c_finishes_the_step_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path, 50, step_s=0.05)
    wait_for_a_step(tmp_path, process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join()
    step = int((tmp_path / "steps").read_text().split()[-1])
    assert (tmp_path / "error.txt").read_text() == (
        f"KeyboardInterrupt: stopped after step {step} (epoch {step / STEPS:.2f}); "
        f"the same command with --resume --out {tmp_path} goes on from there"
    )
    assert read_checkpoint(tmp_path / "last.pt")["progress"]["step"] == step


@pytest.mark.slow
def test_a_full_disk_is_reported_and_the_previous_checkpoint_survives(tmp_path: Path) -> None:
    assert run(tmp_path, 1) == ""
    before = (tmp_path / "last.pt").read_bytes()
    message = run(tmp_path, 2, resumes=True, file_limit=len(before) // 2)
    assert message.startswith(f"UserError: {tmp_path}/last.pt: could not be written (File too large)")
    assert "MB are free there; the one that was there is unharmed" in message
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    assert run(tmp_path, 2, resumes=True) == ""


@pytest.mark.slow
@pytest.mark.local_sockets
def test_two_processes_learn_what_one_learns_from_the_same_batches(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(one, 3, plain=True) == ""
    processes = [start(two, 3, plain=True, environment=place) for place in meeting(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (two / "steps").read_text() == (one / "steps").read_text()  # process 0 alone reports
    for name, value in result(one).items():
        torch.testing.assert_close(value, result(two)[name], rtol=1e-5, atol=1e-6)
