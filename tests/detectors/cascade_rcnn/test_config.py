from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from detkit.config.load import load_config
from detkit.detectors.cascade_rcnn.config import CascadeRCNNConfig

NAME = "cascade_rcnn_resnet18_synthetic"


def detector(**parts: Any) -> CascadeRCNNConfig:
    return CascadeRCNNConfig.model_validate({"type": "cascade_rcnn", **parts})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"head": {"type": "fc6_fc7", "class_agnostic": False}},
            "head.class_agnostic must be true: a stage moves",
        ),
        ({"head": {"type": "fc6_fc7", "box_targets": "measured"}}, "head.box_targets must be fixed"),
        ({"head": {"type": "custom", "target": "a:b"}}, "cascade_rcnn with head: custom has no later stages"),
        (
            {"proposals": {"type": "file"}},
            "cascade_rcnn with proposals: file has nothing to train its cascade on",
        ),
        ({"later_stages": ()}, "at least 1 item"),
        ({"later_stages": ({"fg_iou": 0.6},)}, "box_weights\n.*Field required"),
        ({"neck": {"type": "fpn"}}, "fc6_fc7 needs backbone"),
    ],
)
def test_what_makes_no_cascade_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        detector(**parts)


def test_a_pyramid_keeps_its_own_defaults_and_a_cascades() -> None:
    with_fpn = load_config(NAME).detector
    assert isinstance(with_fpn, CascadeRCNNConfig)
    assert with_fpn.head.class_agnostic  # type: ignore[union-attr]
    assert with_fpn.proposals.border_px is None  # type: ignore[union-attr]
    assert len(detector().proposals.anchors.sizes_px) == 1  # type: ignore[union-attr]


def test_stages_are_told_in_a_file_and_come_back() -> None:
    stages = "detector.later_stages=[{fg_iou: 0.55, box_weights: [15, 15, 8, 8], loss_weight: 0.5}]"
    one = load_config(NAME, [stages]).detector
    assert isinstance(one, CascadeRCNNConfig)
    assert [(stage.fg_iou, stage.loss_weight, stage.feature_gradient) for stage in one.later_stages] == [
        (0.55, 0.5, 1)
    ]
    assert CascadeRCNNConfig.model_validate(one.model_dump()) == one


def test_other_anchors_leave_the_stages_as_they_are() -> None:
    before = detector()
    after = before.with_anchors(lambda maps: (((8.0,),) * maps, (1.0,)))
    assert after is not None
    assert after.proposals.anchors.sizes_px == ((8.0,),)  # type: ignore[union-attr]
    assert after.later_stages == before.later_stages
