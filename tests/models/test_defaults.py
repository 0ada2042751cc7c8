"""What a part is made with from Python without a config is what a config leaves out."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

import pytest

from detkit.detectors.rcnn.config import WarpConfig
from detkit.detectors.rcnn.model import Crops
from detkit.models.necks.config import FPNConfig
from detkit.models.necks.fpn import FPN
from detkit.models.roi.box_heads import BoxPredictor, ConvFcHead, FcHead
from detkit.models.roi.config import ConvFcHeadConfig, RoIAlignConfig, TwoFcHeadConfig
from detkit.models.roi.decision_config import DecisionConfig, SVMDecisionConfig
from detkit.models.roi.region_detector import SELECTION
from detkit.models.roi.roi_head import RoIHead
from detkit.models.roi.selection import Selection
from detkit.models.rpn.config import AnchorsConfig, RPNConfig
from detkit.models.rpn.rpn import RPN, Limits
from detkit.models.rpn.rpn_head import RPNHead
from detkit.ops.anchors import AnchorGrid
from detkit.ops.coding import BoxCoder
from detkit.ops.sampling import Sampler
from detkit.spec import Spec

RPN_KEYS, HEAD_KEYS, ANCHORS = RPNConfig(), TwoFcHeadConfig(), AnchorsConfig()
# Of a part: its config, and what several keys of the config make together.
PARTS: tuple[tuple[type, Spec, dict[str, Any]], ...] = (
    (
        RPN,
        RPN_KEYS,
        {
            "over": ANCHORS.over,
            "sampler": Sampler(RPN_KEYS.batch_per_image, RPN_KEYS.fg_fraction),
            "train_limits": Limits(RPN_KEYS.pre_nms_train, RPN_KEYS.post_nms_train),
            "test_limits": Limits(RPN_KEYS.pre_nms_test, RPN_KEYS.post_nms_test),
        },
    ),
    (RPNHead, RPN_KEYS, {"num_anchors": len(ANCHORS.ratios) * len(ANCHORS.sizes_px[0])}),
    (AnchorGrid, ANCHORS, {}),
    (
        RoIHead,
        HEAD_KEYS,
        {
            "sampler": Sampler(HEAD_KEYS.batch_per_image, HEAD_KEYS.fg_fraction),
            "coder": BoxCoder(HEAD_KEYS.box_weights),
            "selection": None,  # that of `Selection`, with the head's coder
        },
    ),
    (BoxPredictor, HEAD_KEYS, {"svms": None}),
    (
        Selection,
        HEAD_KEYS,
        {"per_class": None, "per_image": HEAD_KEYS.detections_per_image, "coder": BoxCoder((1.0,) * 4)},
    ),
    (FPN, FPNConfig(), {}),
    (
        FcHead,
        TwoFcHeadConfig(),
        {"size": RoIAlignConfig().size, "dropout": 0.0, "ranks": (None, None)},
    ),
    (ConvFcHead, ConvFcHeadConfig(), {"size": RoIAlignConfig().size}),
    (Crops, WarpConfig(), {"square": WarpConfig().mode == "square"}),
)


@pytest.mark.parametrize(
    ("part", "config", "together"), PARTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_defaults_of_a_part_are_those_of_its_config(
    part: type, config: Spec, together: dict[str, Any]
) -> None:
    ours = {
        name: parameter.default
        for name, parameter in signature(part).parameters.items()
        if parameter.default is not Parameter.empty
    }
    assert ours == {name: together[name] if name in together else getattr(config, name) for name in ours}
    assert together.keys() <= ours.keys()


def test_a_head_alone_selects_as_a_config_does() -> None:
    assert RoIHead(None, None, None, num_classes=2).selection == Selection(  # type: ignore[arg-type]
        HEAD_KEYS.score_threshold,
        HEAD_KEYS.nms_iou,
        None,
        HEAD_KEYS.detections_per_image,
        BoxCoder(HEAD_KEYS.box_weights),
    )


def test_detectors_in_stages_select_as_a_config_does() -> None:
    keys = DecisionConfig()
    selection = Selection(keys.score_threshold, keys.nms_iou, keys.detections_per_class, None)
    assert selection == SELECTION
    assert SVMDecisionConfig().score_threshold == keys.score_threshold


def test_a_proposal_network_is_made_in_a_line() -> None:
    rpn = RPN(RPNHead(16), AnchorGrid(), (16,))
    assert rpn.head.num_anchors == rpn.grid.num_per_cell[0]
