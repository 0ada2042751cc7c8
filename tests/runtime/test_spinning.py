from __future__ import annotations

import os
import subprocess
import sys

import pytest

from detkit.runtime.spinning import SPINS, spin_briefly


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
