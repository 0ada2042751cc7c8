"""Detectors that are told where to look are so in every workflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from detkit.build.predictor import build_predictor
from detkit.config.load import load_config
from detkit.config.proposer import SlidingWindow
from detkit.config.schema import Config
from detkit.workflows.evaluate import evaluate
from detkit.workflows.show_data import show_data
from detkit.workflows.train import train
from detkit.workflows.where_to_look import external_proposals

CONFIG = """
version: 1
device: cpu
detector:
  type: fast_rcnn
  backbone: {type: alexnet, width: 0.125}
  proposals: {type: sliding_window, max_boxes: 100}
  regions: {type: roi_pool, size: 6}
  head: {type: two_fc, channels: 16, score_threshold: 0.0}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))
    usual = load_config(
        "faster_rcnn_resnet18_synthetic",
        [
            "data.resize={short_px: 96, long_px: 128}",
            "data.train.num_images=4",
            "data.val.num_images=3",
            "data.workers=0",
            "train.epochs=1",
            "train.batch_size=2",
            "train.precision=fp32",
        ],
    )
    own = Config.model_validate({**usual.model_dump(), **_parts()})
    assert isinstance(external_proposals(own.detector), SlidingWindow)
    assert external_proposals(usual.detector) is None
    return own


def _parts() -> dict[str, object]:
    parts: dict[str, object] = yaml.safe_load(CONFIG)
    return parts


def test_trains_evaluates_shows_and_predicts(config: Config, tmp_path: Path) -> None:
    trained = train(config, out=tmp_path / "run")
    assert trained is not None
    assert trained.measured is not None
    weights = tmp_path / "run" / "model.safetensors"
    again = evaluate(config, weights=weights, out=tmp_path / "eval")
    assert again is not None
    assert again.measured.value == trained.measured.value
    assert show_data(config, tmp_path / "shown", num_batches=1)["batches"][0]["images"] == 2
    predictor = build_predictor(weights, "cpu")
    assert predictor.proposer is not None
    found = predictor.predict(np.zeros((60, 80, 3), np.uint8))
    assert len(found) > 0
