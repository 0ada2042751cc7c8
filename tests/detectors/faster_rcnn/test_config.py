from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.detectors.faster_rcnn.config import AlternatingConfig, FasterRCNNConfig, TurnConfig, as_gradient
from detkit.training.loop.config import CosineScheduleConfig, SGDConfig, StepScheduleConfig

RESNET = {"type": "resnet", "depth": 18}
HEAD = {"type": "two_fc"}


def detector(**parts: Any) -> FasterRCNNConfig:
    return FasterRCNNConfig.model_validate({"type": "faster_rcnn", "backbone": RESNET, "head": HEAD, **parts})


def turn(**changes: Any) -> TurnConfig:
    return TurnConfig(optimizer=SGDConfig(type="sgd", lr=0.01), **changes)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"proposals": {"type": "rpn", "anchors": {"sizes_px": ((32.0,), (64.0,))}}},
            "anchors.sizes_px has 2 lists, but without fpn there is one feature map",
        ),
        (
            {
                "neck": {"type": "fpn"},
                "proposals": {"type": "rpn", "anchors": {"sizes_px": ((32.0,), (64.0,))}},
            },
            "anchors.sizes_px has 2 lists, but fpn has 5 feature maps",
        ),
        ({"proposals": {"type": "rpn", "bg_iou": 0.8}}, r"bg_iou \(0.8\) must not exceed fg_iou \(0.7\)"),
        (
            {"head": {"type": "two_fc", "bg_iou": (0.4, 0.3)}},
            r"bg_iou \(\[0.4, 0.3\]\) must rise, and end at fg_iou \(0.5\) at most",
        ),
        (
            {"head": {"type": "two_fc", "bg_iou": (0.1, 0.6)}},
            r"bg_iou \(\[0.1, 0.6\]\) must rise, and end at fg_iou \(0.5\) at most",
        ),
    ],
)
def test_what_does_not_fit_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        detector(**parts)


def test_limits_may_meet() -> None:
    assert detector(proposals={"type": "rpn", "bg_iou": 0.7}).proposals.bg_iou == 0.7
    assert detector(head={"type": "two_fc", "bg_iou": (0.5, 0.5)}).head.bg_iou == (0.5, 0.5)


def test_targets_are_measured_only_where_proposals_are_known_beforehand() -> None:
    values = load_config("faster_rcnn_resnet18_synthetic", ["detector.head.box_targets=fixed"]).model_dump()
    values["detector"]["head"]["box_targets"] = "measured"
    with pytest.raises(ValidationError, match=r"head.box_targets: measured needs proposals that are known "
                       r"before the training; .*: take fixed, or train.type: alternating"):  # fmt: skip
        Config.model_validate(values)
    optimizer = {"type": "sgd", "lr": 0.01}
    values["train"] = {"type": "alternating"} | {
        part: {"optimizer": optimizer} for part in ("rpn", "fast_rcnn")
    }
    assert Config.model_validate(values).train.type == "alternating"


def test_other_anchors_take_the_place_of_those_there_are() -> None:
    before = detector(neck={"type": "fpn"}, proposals={"type": "rpn", "channels": 7})
    asked: list[int] = []

    def choose(num_maps: int) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
        asked.append(num_maps)
        return ((1.0,),) * num_maps, (2.0, 3.0)

    after = before.with_anchors(choose)
    assert after is not None
    assert asked == [5]
    anchors = after.proposals.anchors
    assert (anchors.sizes_px, anchors.ratios) == (((1.0,),) * 5, (2.0, 3.0))
    assert (anchors.rounding, anchors.offset, after.proposals.channels) == ("corners", 0.0, 7)
    assert before.proposals.anchors.ratios == (0.5, 1.0, 2.0)


def test_a_turn_divides_and_is_a_training_of_its_own() -> None:
    with pytest.raises(ValidationError, match=r"batch_size \(3\) must be a multiple of accumulate \(2\)"):
        turn(batch_size=3, accumulate=2)
    one = turn(epochs=3, batch_size=4, accumulate=2, reference_batch=8, clip_norm=1.0)
    gradient = as_gradient(one, "bf16")
    assert (gradient.precision, gradient.validate_every) == ("bf16", 0)
    for name in TurnConfig.model_fields:
        assert getattr(gradient, name) == getattr(one, name), name


def test_each_network_gets_the_epochs_it_needs() -> None:
    drops = StepScheduleConfig(type="step", at=(8.0,))
    train = AlternatingConfig(
        type="alternating", rpn=turn(epochs=12, batch_size=2, schedule=drops), fast_rcnn=turn(epochs=60)
    )
    fitted, said = train.fitted_to(100)
    assert said == "steps 1 and 3: 24 epochs, because one has only 50 steps; 2 and 4: 60 epochs of 50 steps"
    assert (fitted.rpn.epochs, fitted.fast_rcnn.epochs) == (24, 60)
    assert fitted.rpn.schedule == StepScheduleConfig(type="step", at=(16.0,))
    assert fitted.fast_rcnn.schedule == CosineScheduleConfig()
    same = AlternatingConfig(type="alternating", rpn=turn(), fast_rcnn=turn())
    assert same.fitted_to(100)[1] == "each step: 24 epochs, because one has only 50 steps"
