from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detkit.runtime import memory
from detkit.runtime.memory import (
    forget_peak,
    free_bytes,
    is_out_of_memory,
    peak_bytes,
    shared_bytes,
    shown_bytes,
)

CPU = torch.device("cpu")


def test_what_linux_says_is_in_kibibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("VmPeak:\t    9 kB\nVmHWM:\t     5 kB\nVmRSS:\t    4 kB\n")
    (tmp_path / "meminfo").write_text("MemFree:   1 kB\nMemAvailable:    3 kB\n")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    assert peak_bytes(CPU) == 5 * 1024
    assert free_bytes(CPU) == 3 * 1024


def test_the_peak_is_that_since_it_was_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clear_refs").touch()
    monkeypatch.setattr(memory, "_PEAK", tmp_path / "clear_refs")
    forget_peak(CPU)
    assert (tmp_path / "clear_refs").read_text() == "5"  # proc(5)


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_other_systems_say_it_less_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, unit: int
) -> None:
    for name in ("_STATUS", "_MEMINFO", "_PEAK", "_SHARED"):
        monkeypatch.setattr(memory, name, tmp_path / "missing")
    monkeypatch.setattr("sys.platform", system)
    usage = type("usage", (), {"ru_maxrss": 7})
    monkeypatch.setattr("resource.getrusage", lambda _: usage)
    forget_peak(CPU)
    assert not list(tmp_path.iterdir())
    assert peak_bytes(CPU) == 7 * unit
    assert free_bytes(CPU) is None
    assert shared_bytes() is None


def test_a_gpu_has_what_is_free_and_what_torch_keeps_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 900))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 20)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 40)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("empty"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(str(device)))
    gpu = torch.device("cuda:1")
    assert free_bytes(gpu) == 100 + 30 - 20
    assert peak_bytes(gpu) == 40
    forget_peak(gpu)
    assert calls == ["empty", "cuda:1"]


def test_the_room_of_a_folder_is_what_this_user_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_SHARED", tmp_path)
    monkeypatch.setattr(
        "os.statvfs", lambda _: type("room", (), {"f_bavail": 6, "f_bfree": 9, "f_frsize": 512})
    )
    assert shared_bytes() == 6 * 512


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_is_used_up(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_bytes_are_shown_in_mebibytes_up_to_one_gibibyte() -> None:
    gibibyte = 1 << 30
    assert [shown_bytes(count) for count in (0, gibibyte - (1 << 20), gibibyte, 1.25 * gibibyte)] == [
        "0 MiB", "1023 MiB", "1.0 GiB", "1.2 GiB",
    ]  # fmt: skip
