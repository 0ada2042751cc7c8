from __future__ import annotations

import pytest

from detkit.errors import UserError
from detkit.models.rpn.builder import build_rpn
from detkit.models.rpn.config import RPNConfig
from detkit.models.rpn.rpn import RPN, Limits


def spec(sizes: tuple[tuple[float, ...], ...], **changes: object) -> RPNConfig:
    return RPNConfig.model_validate({"type": "rpn", "anchors": {"sizes_px": sizes}, **changes})


@pytest.mark.parametrize(
    ("sizes", "channels", "strides", "message"),
    [
        (
            ((1.0, 2.0), (3.0,)), (8, 8), (4, 8),
            "proposals.anchors.sizes_px: every feature map needs the same number of sizes, because they "
            "share one network; got [2, 1]",
        ),
        (
            ((1.0,), (2.0,), (3.0,)), (8, 8), (4, 8),
            "proposals.anchors.sizes_px: 3 lists of sizes, but there are 2 feature maps",
        ),
        (
            ((1.0,), (2.0,)), (8, 9), (4, 8),
            "proposals: rpn needs feature maps of one number of channels, got [8, 9]",
        ),
    ],
)  # fmt: skip
def test_maps_that_do_not_fit_are_named(
    sizes: tuple[tuple[float, ...], ...], channels: tuple[int, ...], strides: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError) as told:
        build_rpn(spec(sizes), channels, strides)
    assert str(told.value) == message


@pytest.mark.parametrize(("channels", "width"), [(0, 6), (5, 5)])
def test_every_key_reaches_its_place(channels: int, width: int) -> None:
    keys = {
        "channels": channels, "num_convs": 2, "border_px": 3.0, "fg_iou": 0.8, "bg_iou": 0.2,
        "crowd_iou": 0.6, "batch_per_image": 10, "fg_fraction": 0.3, "beta": 0.4, "box_loss_weight": 2.0,
        "normalize_by": "batch", "pre_nms_train": 11, "post_nms_train": 12, "pre_nms_test": 13,
        "post_nms_test": 14, "nms_iou": 0.65, "min_size_px": 7.0,
    }  # fmt: skip
    made = build_rpn(spec(((32.0, 64.0),), **keys), (6,), (16,))
    assert isinstance(made, RPN)
    for name in ("border_px", "fg_iou", "bg_iou", "crowd_iou", "beta", "box_loss_weight", "normalize_by",
                 "nms_iou", "min_size_px"):  # fmt: skip
        assert getattr(made, name) == keys[name], name
    assert (made.train_limits, made.test_limits) == (Limits(11, 12), Limits(13, 14))
    assert made.anchors_per_image == 10
    convolutions = [m for m in made.head.modules() if getattr(m, "kernel_size", None) == (3, 3)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [(6, width), (width, width)]
