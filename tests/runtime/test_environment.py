from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

import pytest

from detkit.runtime import environment as environment_file
from detkit.runtime.environment import environment
from detkit.version import VERSION


@pytest.mark.parametrize(
    ("content", "cpu"),
    [
        ("processor : 0\nmodel name : A CPU: 2 GHz\nflags : fpu\nmodel name : Another\n", "A CPU: 2 GHz"),
        ("Features : fp asimd\n", "a name"),
        (None, "a name"),
    ],
)
def test_versions_command_and_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, cpu: str
) -> None:
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    monkeypatch.setattr(environment_file, "Path", lambda _: tmp_path / "cpuinfo")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/detkit", "train", "my config.yaml"])
    monkeypatch.setattr(platform, "processor", lambda: "" if content is None else "a name")
    monkeypatch.setattr(platform, "machine", lambda: "a name" if content is None else "x86_64")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "release", lambda: "6.1")
    assert environment() == {
        "command": "detkit train 'my config.yaml'",
        "detkit": VERSION,
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "torchvision": metadata.version("torchvision"),
        "numpy": metadata.version("numpy"),
        "machine": f"Linux 6.1, {cpu}",
    }
