from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from detkit.runtime import cores
from detkit.runtime.cores import SPINS, num_cores, num_workers, share_of_cores, spin_briefly


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)


def test_the_cores_a_process_is_bound_to_count() -> None:
    assert num_cores() == share_of_cores() == 8


@pytest.mark.parametrize(
    ("text", "cores_left"),
    [("max 100000", 8), ("150000 100000", 2), ("1000 100000", 1), ("3200000 100000", 8), ("strange", 8)],
)
def test_a_container_may_give_fewer(tmp_path: Path, text: str, cores_left: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert num_cores() == cores_left


@pytest.mark.parametrize(("quota", "cores_left"), [("-1", 8), ("200000", 2), ("", 8)])
def test_older_containers_say_it_in_two_files(tmp_path: Path, quota: str, cores_left: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert num_cores() == cores_left


@pytest.mark.parametrize(("processes", "share"), [("2", 4), ("3", 2), ("20", 1)])
def test_processes_of_torchrun_share_them(
    monkeypatch: pytest.MonkeyPatch, processes: str, share: int
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert share_of_cores() == share
    assert num_cores() == 8


def test_systems_without_binding_say_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores() == 1


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, {"GOMP_SPINCOUNT": SPINS}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_what_the_user_has_set_stays(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], left: dict[str, str]
) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    spin_briefly()
    assert {name: os.environ[name] for name in names if name in os.environ} == left


@pytest.mark.parametrize(
    "code",
    ["from detkit.__main__ import main; main(['--version'])", "import detkit; detkit.load"],
)
def test_it_is_set_before_torch_is_loaded(code: str) -> None:
    watch = f"""
import builtins, os, sys
real = builtins.__import__
seen = []
def watched(name, *rest):
    if name.split(".")[0] == "torch" and not seen:
        seen.append(os.environ.get("GOMP_SPINCOUNT"))
    return real(name, *rest)
builtins.__import__ = watched
{code}
print(*(seen or [os.environ.get("GOMP_SPINCOUNT")]))
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", watch], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == SPINS


@pytest.mark.parametrize(
    ("processes", "workers"), [("1", 7), ("2", 3), ("3", 0), ("4", 0), ("8", 0), ("0", 7)]
)
def test_loader_processes_take_what_training_leaves_over(
    monkeypatch: pytest.MonkeyPatch, processes: str, workers: int
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert num_workers(None) == workers
    assert num_workers(0) == 0
    assert num_workers(5) == 5


@pytest.mark.parametrize(("cores_there", "workers"), [(3, 2), (9, 8), (10, 8), (64, 8)])
def test_there_are_no_more_than_eight(
    monkeypatch: pytest.MonkeyPatch, cores_there: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores_there)), raising=False)
    assert num_workers(None) == workers
