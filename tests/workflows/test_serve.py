"""What `detkit serve` says and refuses before it serves; the server itself: tests/serving."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from detkit.__main__ import main
from detkit.errors import UserError
from detkit.serving import server
from detkit.version import VERSION
from detkit.workflows import serve as workflow
from tests.inference.bright import predictor

pytestmark = pytest.mark.local_sockets


class Server:
    """A server that ends at once, as by Ctrl-C, and keeps what it was given."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def run(self, sockets: list[Any]) -> None:
        self.port = sockets[0].getsockname()[1]
        raise KeyboardInterrupt


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    made: list[Server] = []

    def make(app: Any) -> Server:
        made.append(Server(app))
        return made[-1]

    monkeypatch.setattr(server, "server_of", make)
    monkeypatch.setattr(workflow, "build_predictor", lambda *_, **__: predictor())
    return made


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "run" / "model.safetensors"
    file.parent.mkdir()
    about = {"detkit": VERSION, "classes": '["red"]', "category_ids": "[1]", "config": "", "license": "MIT"}
    save_file({"weight": np.zeros(1, np.float32)}, file, about)
    return file


def test_the_address_is_said_and_ctrl_c_ends_it(
    served: list[Server], weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    about = tmp_path / "about.json"
    assert main(["serve", str(weights), "--port", "0", "--json", str(about)]) == 130
    said = capfd.readouterr()
    address = f"http://127.0.0.1:{served[0].port}"
    assert said.out == f"serving run/model.safetensors at {address}; Ctrl-C ends it\n"
    assert "warning" not in said.err
    assert json.loads(about.read_text()) == {
        "address": address,
        "host": "127.0.0.1",
        "port": served[0].port,
        "model": "run/model.safetensors",
        "classes": ["red", "green", "blue"],
    }


async def _status(app: Any, host: str) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        return (await client.get(f"http://{host}/health")).status_code


def test_another_host_is_warned_of_and_asked_by_any_name(
    served: list[Server], weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(weights), "--port", "0", "--host", "0.0.0.0"]) == 130
    assert "warning: --host 0.0.0.0: whoever reaches this machine can use it" in capfd.readouterr().err
    assert main(["serve", str(weights), "--port", "0"]) == 130
    anyone, alone = (one.app for one in served)
    assert [asyncio.run(_status(app, "evil.example")) for app in (anyone, alone)] == [200, 421]
    assert asyncio.run(_status(alone, "localhost")) == 200


def test_what_is_wrong_is_said_before_anything_is_served(
    served: list[Server], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match="cannot be listened at"):
        workflow.serve(weights, port=taken.getsockname()[1])
    with pytest.raises(UserError, match="threshold: a score from 0 to 1"):
        workflow.serve(weights, port=0, threshold=2.0)
    monkeypatch.setattr(workflow, "find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(UserError, match="serve needs FastAPI: pip install fastapi uvicorn python-multipart"):
        workflow.serve(weights, port=0)
    assert served == []
