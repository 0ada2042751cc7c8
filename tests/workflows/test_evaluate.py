from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detkit.config.load import load_config
from detkit.errors import UserError
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


@pytest.mark.parametrize(("key", "views"), [("null", None), ("{}", 6), ("{flip: false, scales: [1.0]}", 1)])
def test_images_are_looked_at_as_often_as_the_config_says(
    key: str, views: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(
        "faster_rcnn_resnet18_synthetic", ["data.val.num_images=1", f"evaluate.augment={key}"]
    )
    loaded = SimpleNamespace(classes=config.data.classes, config=config, model=object())
    seen: list[Any] = []
    monkeypatch.setattr(workflow, "load_detector", lambda *_, **__: loaded)
    monkeypatch.setattr(workflow, "detect_with", lambda *given: (seen.append(given[-1]), (None, None))[1])
    (tmp_path / "model.safetensors").touch()
    evaluate(config, weights=tmp_path / "model.safetensors", out=tmp_path / "out")
    assert (seen[0] and len(seen[0].views)) == views
    assert views is None or seen[0].max_detections == config.detector.max_detections


def test_a_classifier_has_its_own_views() -> None:
    with pytest.raises(UserError, match=r"evaluate\.augment: must be null; a classifier's views"):
        load_config("classifier_resnet18_synthetic", ["evaluate.augment={}"])
