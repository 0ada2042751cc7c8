from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.detectors.config import DetectorConfig
from detkit.errors import UserError
from detkit.runs import predictor


def test_a_model_without_a_proposal_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("rcnn_resnet18_synthetic")
    loaded = SimpleNamespace(model=nn.Identity(), config=config)
    monkeypatch.setattr(predictor, "load_detector", lambda *_, **__: loaded)
    with pytest.raises(UserError) as told:
        predictor.build_rpn_proposer(Path("a.safetensors"), None, "cpu")
    assert str(told.value) == (
        "a.safetensors: a rcnn has no proposal network; METHOD takes a model that has one, "
        "such as a faster_rcnn"
    )


def test_soft_nms_takes_the_place_of_what_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("faster_rcnn_resnet18_synthetic")
    built: list[DetectorConfig] = []

    def build(detector: DetectorConfig, *_: Any, **__: Any) -> nn.Module:
        built.append(detector)
        return nn.Identity()

    file = SimpleNamespace(
        path=Path("a"), config_yaml=dump_config(config), classes=("a",), load_into=lambda model: None
    )
    monkeypatch.setattr(predictor, "read_model_file", lambda weights: file)
    monkeypatch.setattr(predictor, "build_detector", build)
    predictor.load_detector("a")
    predictor.load_detector("a", soft_nms="gaussian")
    assert [detector.head.soft_nms for detector in built] == [None, "gaussian"]  # type: ignore[attr-defined]
    assert built[1].head == config.detector.head.model_copy(update={"soft_nms": "gaussian"})  # type: ignore[attr-defined, union-attr]


def test_a_detector_without_soft_nms_is_named() -> None:
    with pytest.raises(UserError, match="soft_nms: a dpm has no such key; heads of regions have it"):
        load_config("dpm_synthetic").detector.with_soft_nms("linear")
