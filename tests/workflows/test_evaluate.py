from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from detkit.config.load import load_config
from detkit.workflows import evaluate as workflow
from detkit.workflows.evaluate import evaluate


@pytest.mark.parametrize("compiles", [False, True])
def test_maps_are_compiled_where_the_config_says_so(
    compiles: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(
        "faster_rcnn_resnet18_synthetic",
        ["device=cpu", "data.val.num_images=1", f"evaluate.compile={str(compiles).lower()}"],
    )
    loaded, compiled = SimpleNamespace(classes=config.data.classes, config=config, model=object()), []
    monkeypatch.setattr(workflow, "load_detector", lambda *_, **__: loaded)
    monkeypatch.setattr(workflow, "compile_maps", compiled.append)
    monkeypatch.setattr(workflow, "detect_with", lambda *_: (None, None))
    (tmp_path / "model.safetensors").touch()
    assert evaluate(config, weights=tmp_path / "model.safetensors", out=tmp_path / "out") is None
    assert compiled == [loaded.model] * compiles
