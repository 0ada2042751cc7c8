"""A file of torchvision's weights, imported, finds the same in photographs of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone

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


def on_mobile(name: str) -> nn.Module:
    backbone = mobilenet_backbone(backbone_name=name, weights=None, fpn=True, norm_layer=nn.BatchNorm2d)
    sizes, ratios = (((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
    anchors = detection.rpn.AnchorGenerator(sizes, ratios)
    return detection.FasterRCNN(backbone, 4, rpn_anchor_generator=anchors, rpn_score_thresh=0.05, **SIDES)


MODELS = {
    "resnet18": lambda: on("resnet18"),
    "resnext": lambda: on("resnext50_32x4d"),
    "wide": lambda: on("wide_resnet50_2"),
    "v1": lambda: detection.fasterrcnn_resnet50_fpn(**NONE, num_classes=4, **SIDES),
    "v2": lambda: detection.fasterrcnn_resnet50_fpn_v2(**NONE, num_classes=4, **SIDES),
    "mask": lambda: detection.maskrcnn_resnet50_fpn(**NONE, num_classes=4, **SIDES),
    "mask v2": lambda: detection.maskrcnn_resnet50_fpn_v2(**NONE, num_classes=4, **SIDES),
    "mobile": lambda: detection.fasterrcnn_mobilenet_v3_large_fpn(**NONE, num_classes=4, **SIDES),
    "mobile 320": lambda: detection.fasterrcnn_mobilenet_v3_large_320_fpn(**NONE, num_classes=4),
    "mobile v2": lambda: on_mobile("mobilenet_v2"),
    "keypoint": lambda: detection.keypointrcnn_resnet50_fpn(**NONE, num_classes=2, **SIDES),
}
SEEDS = {"resnext": 1, "mask v2": 1}
"""Of random weights: with 0, one of 500 boxes overlaps another by 0.5 but for the last bit, and on some
processors one of 640 pixels is rounded by 0.0101."""
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != "resnet18"]


SIZES = ((120, 160), (161, 97), (90, 320), (333, 200), (401, 640))


def image(number: int) -> NDArray[np.uint8]:
    """Return a (H, W, 3) uint8 image of the size of that number."""
    pixels = photo(number).numpy().transpose(1, 2, 0)
    return np.ascontiguousarray(np.resize(pixels, (*SIZES[number], 3)))


def as_theirs(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@pytest.mark.parametrize("name", ["resnet18", *SLOW])
def test_the_same_detections(name: str, tmp_path: Path) -> None:
    torch.manual_seed(SEEDS.get(name, 0))
    theirs = MODELS[name]().eval()
    # Gates of a MobileNet that were calibrated with one kind of image burst in another.
    is_mobile = "mobile" in name
    calibrate(theirs, [as_theirs(image(number)) for number in range(5)] if is_mobile else [photo(0) / 255])
    if is_mobile:
        theirs.rpn.head.cls_logits.bias.data -= 2.0  # some are below the threshold of objectness
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    classes = () if name == "keypoint" else ("a", "b", "c")
    arch = "fasterrcnn_mobilenet_v3_large_320_fpn" if name == "mobile 320" else None
    size = [] if arch else ["data.resize.short_px=200", "data.resize.long_px=333"]
    read = import_model(tmp_path / "theirs.pth", "torchvision", arch=arch, classes=classes, overrides=size)
    assert read.missing == ()
    assert bool(read.unused) == (name in ("mask", "mask v2", "keypoint"))
    ours = detkit.load(read.out)
    compared = 0
    for number in range(len(SIZES)):
        with torch.no_grad():
            (wanted,) = theirs([as_theirs(image(number))])
        found = ours.predict(image(number), threshold=0.0)
        compared += len(found.boxes)
        assert_same(found, wanted["boxes"], wanted["labels"] - 1, wanted["scores"])
    assert compared > 50
