"""One training of a detector of no use, for all tests of the command line that run in a process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.__main__ import main

SMALL = [
    "device=cpu", "detector.backbone.width=0.125", "detector.proposals.channels=8",
    "detector.head.score_threshold=0.01", "data.resize={short_px: 64, long_px: 96}", "data.workers=0",
    "data.train.augment=[]", "train.epochs=1", "train.batch_size=8", "train.precision=fp32", "train.ema=null",
]  # fmt: skip
SYNTHETIC = [*SMALL, "data.train.num_images=8", "data.val.num_images=2"]
CONFIG = "faster_rcnn_resnet18_synthetic"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained detector of no use."""
    folder = tmp_path_factory.mktemp("trained")
    out, result = folder / "run", folder / "train.json"
    assert main(["train", CONFIG, *SYNTHETIC, "--out", str(out), "--json", str(result)]) == 0
    assert json.loads(result.read_text("utf-8"))["out"] == str(out)
    return out
