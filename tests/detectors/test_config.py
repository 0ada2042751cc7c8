"""What the rest of the house asks of a detector's config."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.config import CustomDetectorConfig, DetectorConfig
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.proposals.config import SlidingWindowConfig

RESNET = {"type": "resnet", "depth": 18}
HEAD = {"type": "two_fc"}
CUSTOM = CustomDetectorConfig(type="custom", target="a:B")


def faster(**parts: Any) -> FasterRCNNConfig:
    return FasterRCNNConfig.model_validate({"type": "faster_rcnn", "backbone": RESNET, "head": HEAD, **parts})


@pytest.mark.parametrize(
    ("config", "summary", "stride"),
    [
        (faster(), "faster_rcnn on resnet18", 16),
        (faster(neck={"type": "fpn"}), "faster_rcnn on resnet18", 4),
        (RCNNConfig(), "rcnn on alexnet", 16),
        (CUSTOM, "custom", 16),
    ],
)
def test_a_few_words_and_the_finest_stride(config: DetectorConfig, summary: str, stride: int) -> None:
    assert (config.summary, config.finest_stride) == (summary, stride)


@pytest.mark.parametrize(
    ("weights", "published"),
    [("none", ""), ("IMAGENET1K_V1", "IMAGENET1K_V1"), ("my/backbone.pth", ""), ("a.safetensors", "")],
)
def test_published_weights_have_a_name(weights: str, published: str) -> None:
    assert faster(backbone={**RESNET, "weights": weights}).published_weights == published
    assert CUSTOM.published_weights == ""


def test_what_is_reported_is_in_the_head() -> None:
    found = faster(head={"type": "two_fc", "nms_iou": 0.4, "detections_per_image": 7})
    assert (found.nms_iou, found.max_detections) == (0.4, 7)
    assert (CUSTOM.nms_iou, CUSTOM.max_detections) == (0.5, 100)


def test_other_proposals_take_the_place_of_those_there_are() -> None:
    windows = SlidingWindowConfig(type="sliding_window")
    before = FastRCNNConfig()
    assert before.with_proposals(windows).external_proposals == windows
    assert before.external_proposals != windows
    assert (CUSTOM.external_proposals, faster().external_proposals) == (None, None)
    assert (CUSTOM.with_anchors(lambda _: ((), ())), before.with_anchors(lambda _: ((), ()))) == (None, None)


@pytest.mark.parametrize(
    ("config", "stages"),
    [
        (faster(backbone={**RESNET, "weights": "IMAGENET1K_V1", "freeze_at": 1}), 4),  # the fifth is the head
        (FastRCNNConfig.model_validate({"backbone": {"type": "vgg", "weights": "a.pth", "freeze_at": 1}}), 5),
        (ClassifierConfig.model_validate({"backbone": {**RESNET, "weights": "a.pth", "freeze_at": 1}}), 5),
    ],
)
def test_stages_that_may_be_frozen_are_those_in_front_of_the_head(
    config: DetectorConfig, stages: int
) -> None:
    asked: list[tuple[int, int]] = []

    def choose(count: int, now: int) -> int:
        asked.append((count, now))
        return 3

    after = config.with_frozen(choose)
    assert asked == [(stages, 1)]
    assert after is not None
    assert after.backbone.freeze_at == 3  # type: ignore[attr-defined]


def test_without_pretrained_stages_nothing_is_frozen() -> None:
    def choose(count: int, now: int) -> int:
        raise AssertionError("not to be asked")

    own = faster(backbone={"type": "custom", "target": "a:B"})
    assert [config.with_frozen(choose) for config in (faster(), own, CUSTOM)] == [None, None, None]


@pytest.mark.parametrize("scales", [(400, 300), (300, 300), (300, 300, 400)])
@pytest.mark.parametrize("kind", [FastRCNNConfig, SPPNetConfig])
def test_copies_of_an_image_rise(kind: type[DetectorConfig], scales: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="scales_px must rise, got "):
        kind.model_validate({"scales_px": scales})


def test_the_largest_copy_is_the_image() -> None:
    values = load_config("fast_rcnn_alexnet_voc07").model_dump()
    short = values["data"]["resize"]["short_px"]
    values["detector"]["scales_px"] = (300, short)
    assert Config.model_validate(values).detector.image_scales_px == (300, short)
    for resize, found in ({**values["data"]["resize"], "short_px": short + 1}, short + 1), (None, None):
        other = {**values, "data": {**values["data"], "resize": resize}}
        with pytest.raises(ValidationError, match=f"detector.scales_px ends with {short}, but images come "
                           f"with data.resize.short_px {found}; "):  # fmt: skip
            Config.model_validate(other)


def test_the_smallest_crop_is_the_networks() -> None:
    def rcnn(size: int, **backbone: str) -> RCNNConfig:
        regions = {"type": "warp", "size": size, "context_px": 4}
        return RCNNConfig.model_validate(
            {"backbone": backbone, "regions": regions, "head": {"type": "softmax"}}
        )

    assert rcnn(23, type="caffenet").regions.size == 23
    assert rcnn(9, type="custom", target="a:B").regions.size == 9
    with pytest.raises(
        ValidationError, match=r"regions.size must be at least 23 with backbone: caffenet, got 22"
    ):
        rcnn(22, type="caffenet")


def test_a_context_leaves_room_for_the_region() -> None:
    region = {"type": "warp", "size": 101}
    assert RCNNConfig.model_validate({"regions": {**region, "context_px": 50}}).regions.context_px == 50
    with pytest.raises(ValidationError, match=r"context_px \(51\) must be less than half of size \(101\)"):
        RCNNConfig.model_validate({"regions": {**region, "context_px": 51}})
    with pytest.raises(ValidationError, match=r"context_px \(50\) must be less than half of size \(100\)"):
        RCNNConfig.model_validate({"regions": {"type": "warp", "size": 100, "context_px": 50}})


def test_regions_are_pooled_on_the_grid_of_the_backbones_fc6() -> None:
    def levels(**parts: Any) -> tuple[int, ...]:
        found: tuple[int, ...] = SPPNetConfig.model_validate(parts).regions.levels  # type: ignore[union-attr]
        return found

    assert levels(backbone={"type": "vgg"}) == (7, 3, 2, 1)
    assert levels() == levels(backbone={"type": "resnet"}, head={"type": "softmax"}) == (6, 3, 2, 1)
    assert levels(backbone={"type": "vgg"}, regions={"type": "spp", "levels": (4,)}) == (4,)
