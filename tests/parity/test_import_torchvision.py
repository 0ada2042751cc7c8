"""A file of torchvision's weights, imported, finds the same in photographs of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import detkit
from detkit.workflows.import_model import import_model
from tests.parity.test_torchvision import photo
from tests.reference.calibration import calibrate
from tests.reference.recorded_detectors import assert_same

NONE = {"weights": None, "weights_backbone": None}
SIDES = {"min_size": 200, "max_size": 333}


def on(name: str) -> nn.Module:
    backbone = resnet_fpn_backbone(backbone_name=name, weights=None)
    return detection.FasterRCNN(backbone, num_classes=4, **SIDES)


MODELS = {
    "resnet18": lambda: on("resnet18"),
    "resnext": lambda: on("resnext50_32x4d"),
    "wide": lambda: on("wide_resnet50_2"),
    "v1": lambda: detection.fasterrcnn_resnet50_fpn(**NONE, num_classes=4, **SIDES),
    "v2": lambda: detection.fasterrcnn_resnet50_fpn_v2(**NONE, num_classes=4, **SIDES),
    "mask": lambda: detection.maskrcnn_resnet50_fpn(**NONE, num_classes=4, **SIDES),
    "mask v2": lambda: detection.maskrcnn_resnet50_fpn_v2(**NONE, num_classes=4, **SIDES),
    "keypoint": lambda: detection.keypointrcnn_resnet50_fpn(**NONE, num_classes=2, **SIDES),
}
SEEDS = {"resnext": 1, "mask v2": 1}
"""Of random weights: with 0, one of 500 boxes overlaps another by 0.5 but for the last bit, and on some
processors one of 640 pixels is rounded by 0.0101."""
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != "resnet18"]


@pytest.mark.parametrize("name", ["resnet18", *SLOW])
def test_the_same_detections(name: str, tmp_path: Path) -> None:
    torch.manual_seed(SEEDS.get(name, 0))
    theirs = MODELS[name]().eval()
    calibrate(theirs, [photo(0) / 255])
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    classes = () if name == "keypoint" else ("a", "b", "c")
    size = ["data.resize.short_px=200", "data.resize.long_px=333"]
    read = import_model(tmp_path / "theirs.pth", "torchvision", classes=classes, overrides=size)
    assert read.missing == ()
    assert bool(read.unused) == (name in ("mask", "mask v2", "keypoint"))
    ours = detkit.load(read.out)
    compared = 0
    for number, (height, width) in enumerate([(120, 160), (161, 97), (90, 320), (333, 200), (401, 640)]):
        pixels = photo(number).numpy().transpose(1, 2, 0)
        image = np.ascontiguousarray(np.resize(pixels, (height, width, 3)))
        with torch.no_grad():
            (wanted,) = theirs([torch.from_numpy(image).permute(2, 0, 1) / 255])
        found = ours.predict(image, threshold=0.0)
        compared += len(found.boxes)
        assert_same(found, wanted["boxes"], wanted["labels"] - 1, wanted["scores"])
    assert compared > 50
