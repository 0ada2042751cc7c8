"""Valid input and a warm process, made once for all tests that attack or kill commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.hostile.valid_input import make_valid_input
from tests.reliability.hostile.warm_process import WarmProcess


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valid")
    make_valid_input(folder)
    return folder


@pytest.fixture(scope="session")
def process() -> Iterator[WarmProcess]:
    with WarmProcess() as process:
        yield process
