"""Fast R-CNN is given its proposals in every command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.proposals.config import SlidingWindowConfig
from detkit.runs.predictor import build_predictor, load_detector
from detkit.training.loop.checkpoint import read_checkpoint
from detkit.training.loop.config import ConstantScheduleConfig, SGDConfig, WarmupConfig
from detkit.workflows.evaluate import evaluate
from detkit.workflows.show_data import show_data
from detkit.workflows.train import train

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
    assert isinstance(own.detector.external_proposals, SlidingWindowConfig)
    assert usual.detector.external_proposals is None
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
    found = predictor.predict(np.zeros((60, 80, 3), np.uint8), threshold=0.0)
    assert len(found) > 0


def test_box_targets_are_measured_again_for_a_resumed_training_and_folded_into_the_file(
    config: Config, tmp_path: Path
) -> None:
    """Stopped after the first epoch and resumed: the same file, bit by bit."""
    assert config.detector.head.box_targets == "measured"  # type: ignore[union-attr]
    level = {
        "schedule": ConstantScheduleConfig(type="constant"),
        "warmup": WarmupConfig(steps=0),
        "ema": None,
    }
    level |= {"validate_every": 0}
    stopped = config.model_copy(update={"train": config.train.model_copy(update=level)})
    longer = config.model_copy(update={"train": config.train.model_copy(update={**level, "epochs": 2})})
    train(longer, out=tmp_path / "whole")
    train(stopped, out=tmp_path / "stopped")
    (tmp_path / "stopped" / "config.yaml").write_text((tmp_path / "whole" / "config.yaml").read_text())
    train(longer, out=tmp_path / "stopped", resume=True)
    whole, resumed = (load_detector(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    for name, value in whole.file.state.items():
        assert torch.equal(value, resumed.file.state[name]), name
    raw = read_checkpoint(tmp_path / "whole" / "last.pt")["model"]["roi_head.predictor.bbox_pred.weight"]
    folded = whole.file.state["roi_head.predictor.bbox_pred.weight"]
    ratio = (folded / raw).reshape(5, 4, -1)
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))
    assert (ratio < 1).all()  # deviations, in units of the fixed weights
    assert len(ratio[..., 0].unique()) >= 4


def test_fine_tuning_takes_up_a_folded_file_in_the_units_of_the_new_data(
    config: Config, tmp_path: Path
) -> None:
    train(config, out=tmp_path / "first")
    still = config.train.model_copy(update={"optimizer": SGDConfig(type="sgd", lr=1e-30), "ema": None})
    weights = tmp_path / "first" / "model.safetensors"
    train(config.model_copy(update={"train": still}), out=tmp_path / "second", from_weights=weights)
    first, second = (load_detector(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    for name, value in first.file.state.items():
        torch.testing.assert_close(second.file.state[name], value, rtol=1e-5, atol=1e-7)
