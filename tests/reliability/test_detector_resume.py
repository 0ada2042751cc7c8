from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from detkit.config.load import load_config
from detkit.training.loop.checkpoint import read_checkpoint
from detkit.training.loop.log import TrainingLog
from detkit.training.loop.milestones import Report
from detkit.workflows.train import train

RPN = (
    "detector.proposals.channels=16",
    "detector.proposals.pre_nms_train=50",
    "detector.proposals.post_nms_train=20",
)
CONFIGS = {
    "faster_rcnn_resnet18_synthetic": RPN,
    "cascade_rcnn_resnet18_synthetic": RPN,
    "dpm_cnn_resnet18_synthetic": (),
    "overfeat_resnet18_synthetic": (),
}
SMALL = (
    "detector.backbone.width=0.125",
    "data.train.num_images=6",
    "data.val.num_images=2",
    "data.resize.short_px=64",
    "data.resize.long_px=96",
    "train.epochs=2",
    "train.batch_size=2",
    "train.ema.decay=0.9",
    "train.precision=fp32",
    "device=cpu",
)
STOP_AT = 4  # of six steps: in the middle of the second epoch


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_real_detector_resumes_bit_for_bit_in_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, workers: int
) -> None:
    config = load_config(name, [*SMALL, *CONFIGS[name], f"data.workers={workers}"])
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, out=whole)

    hear = TrainingLog.__call__

    def press(self: TrainingLog, report: Report) -> None:
        hear(self, report)
        if report.step == STOP_AT:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "__call__", press)
        with pytest.raises(KeyboardInterrupt, match=f"stopped after step {STOP_AT}"):
            train(config, out=stopped)
    torch.rand(3)
    train(config, out=stopped, resume=True)

    one, other = (load_file(folder / "model.safetensors") for folder in (whole, stopped))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert_equal(*(read_checkpoint(folder / "last.pt") for folder in (whole, stopped)))
    assert (whole / "detections.json").read_bytes() == (stopped / "detections.json").read_bytes()


def assert_equal(one: Any, other: Any) -> None:
    """Compare nested values bit for bit."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        assert one == other
