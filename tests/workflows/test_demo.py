"""The demo, with a smaller config, and how a stopped one goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.errors import UserError
from detkit.workflows import demo as workflow
from detkit.workflows.demo import CONFIG, demo
from tests.workflows.test_train import SMALL


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(name: str) -> Config:
        assert name == CONFIG
        return load_config(name, SMALL)

    monkeypatch.setattr(workflow, "load_config", small)
    monkeypatch.setattr(workflow, "NUM_PICTURES", 2)


def test_a_stopped_demo_goes_on_by_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, original = tmp_path / "demo", workflow.predict

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "predict", stopped)
    with pytest.raises(KeyboardInterrupt, match=f"detkit demo --out {out} goes on"):
        demo(out)
    model = (out / "train" / "model.safetensors").read_bytes()
    steps = (out / "train" / "metrics.jsonl").read_text()
    monkeypatch.setattr(workflow, "predict", original)
    result = demo(out)
    assert result["out"] == str(out)
    assert 0 <= result["ap"] <= result["ap50"] <= 1
    assert (out / "train" / "model.safetensors").read_bytes() == model
    again = (out / "train" / "metrics.jsonl").read_text()
    assert again.count("grad_norm") == steps.count("grad_norm") > 0  # no step was done twice
    assert len(list((out / "predictions" / "drawn").iterdir())) == 2


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="not empty"):
        demo(tmp_path)
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith(".")] == ["mine.txt"]
