"""Names of torchvision's Faster R-CNN, old and new; numbers are compared in tests/parity."""

from __future__ import annotations

import pytest
import torch

from detkit.detectors.faster_rcnn.torchvision import from_torchvision
from detkit.errors import UserError


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("backbone.body.layer1.0.conv1.weight", "backbone.layer1.0.conv1.weight"),
        ("backbone.fpn.inner_blocks.0.0.weight", "neck.inner_blocks.0.0.weight"),
        ("backbone.fpn.inner_blocks.0.weight", "neck.inner_blocks.0.0.weight"),
        ("backbone.fpn.layer_blocks.3.1.running_mean", "neck.layer_blocks.3.1.running_mean"),
        ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
        ("rpn.head.conv.1.0.bias", "rpn.head.conv.1.0.bias"),
        ("rpn.head.cls_logits.bias", "rpn.head.cls_logits.bias"),
        ("roi_heads.box_head.fc6.weight", "roi_head.head.fc6.weight"),
        ("roi_heads.box_head.2.1.weight", "roi_head.head.convs.2.1.weight"),
        ("roi_heads.box_head.5.bias", "roi_head.head.fc.bias"),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    assert list(from_torchvision({theirs: torch.zeros(1)})) == [ours]


def test_background_goes_last_and_has_no_box() -> None:
    state = {
        "roi_heads.box_predictor.cls_score.bias": torch.tensor([9.0, 0.0, 1.0]),
        "roi_heads.box_predictor.bbox_pred.bias": torch.arange(12.0),
    }
    ours = from_torchvision(state)
    assert ours["roi_head.predictor.cls_score.bias"].tolist() == [0, 1, 9]
    assert ours["roi_head.predictor.bbox_pred.bias"].tolist() == list(range(4, 12))


def test_another_eps_moves_into_the_variance() -> None:
    state = {"backbone.body.bn1.running_var": torch.tensor([0.5])}
    assert from_torchvision(state, norm_eps=0.0)["backbone.bn1.running_var"].item() == pytest.approx(0.49999)


def test_other_models_are_refused() -> None:
    with pytest.raises(UserError, match=r"roi_heads\.mask_head.*fasterrcnn_resnet50_fpn"):
        from_torchvision({"roi_heads.mask_head.0.weight": torch.zeros(1)})
