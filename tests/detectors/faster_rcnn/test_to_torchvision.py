from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn.to_torchvision import _notes, to_torchvision
from detkit.detectors.faster_rcnn.torchvision import from_torchvision
from detkit.errors import UserError
from detkit.models.backbones.mobilenet.shapes import NORM_EPS

AS_THERE = (
    "detector.multiple_of=32",
    "detector.proposals.anchors.over=batch",
    "data.resize={short_px: 96, long_px: 128, like: torchvision}",
)


@pytest.mark.parametrize(
    ("left_out", "said"), [(0, "multiple_of"), (1, "anchors.over"), (2, "resize.like"), (None, None)]
)
def test_what_weights_cannot_change_is_noted(left_out: int | None, said: str | None) -> None:
    settings = [text for place, text in enumerate(AS_THERE) if place != left_out]
    config = load_config("faster_rcnn_resnet18_synthetic", settings)
    notes = list(_notes(config.detector, config.data))
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


def mobile(*settings: str) -> tuple[nn.Module, Config]:
    """Return a detector on the two maps of a MobileNet's last stage, with statistics of its own."""
    config = load_config(
        "faster_rcnn_mobilenet_v3_large_320_fpn_coco",
        ["detector.backbone.weights=none", "data.classes=[cat, dog]", *settings],
    )
    model = build_detector(config.detector, 2, seed=0)
    for name, value in model.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.2, 2.0)
    return model, config


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["v2", "v3_large"])
def test_a_mobilenet_comes_back_as_it_went(variant: str) -> None:
    model, config = mobile(f"detector.backbone.variant={variant}")
    named = to_torchvision(model, config.detector, config.data, 2)
    assert named.described["mobilenet_backbone"] == f"mobilenet_{variant}"
    assert named.described["arguments"]["rpn_score_thresh"] == 0.05
    back = from_torchvision(named.state, own_eps=NORM_EPS[variant])  # type: ignore[index]
    own = model.state_dict()
    assert own.keys() == back.keys()
    for name, value in own.items():
        torch.testing.assert_close(back[name], value, atol=1e-6, rtol=0)
    if variant == "v3_large":  # what torchvision builds by that name holds the weights
        theirs = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=3)
        theirs.load_state_dict(dict(named.state))


def test_maps_that_torchvision_has_not_are_named() -> None:
    config = load_config("faster_rcnn_mobilenet_v3_large_fpn", ["detector.neck.channels=256"])
    with pytest.raises(UserError, match=r"detector\.backbone\.maps: .* has 'last_stage'; this one 'stages'"):
        to_torchvision(nn.Identity(), config.detector, config.data, 1)
