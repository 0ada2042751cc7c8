"""Every backbone learns and detects in every detector with every head that it can be joined with."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from detkit.data.regions.batch import RegionBatch
from detkit.detectors.builder import build_detector
from detkit.detectors.cascade_rcnn.config import CascadeRCNNConfig
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.models.backbones.families import FAMILIES
from detkit.ops.warp import Cuts, plan_warp
from detkit.structures import ImageBatch, Target, TrainBatch

NORMS = ("frozen", "trainable")
# The larger ones have more of the same blocks.
LEFT_OUT = {f"efficientnet_{variant}" for variant in ("b2", "b3", "b4", "b5", "b6", "b7", "v2_m")} | {
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet101_2",
}
BACKBONES: dict[str, dict[str, Any]] = {
    **{name: keys for family in FAMILIES for name, keys in family.variants.items() if name not in LEFT_OUT},
    **{
        f"{name}_bn": {**keys, "batch_norm": True}
        for family in FAMILIES
        if family.norm_is_a_choice
        for name, keys in family.variants.items()
    },
}
OWN_HEAD = {family.name: family.head_name for family in FAMILIES}
# The smallest network of each family, with batch normalisation.
ONE_OF_A_KIND = tuple(next(iter(family.variants)) + "_bn" * family.norm_is_a_choice for family in FAMILIES)
PYRAMIDS = tuple(name for name, family in zip(ONE_OF_A_KIND, FAMILIES, strict=True) if family.has_pyramid)
NEW_HEADS: dict[str, dict[str, Any]] = {
    "two_fc": {"type": "two_fc", "channels": 8},
    "conv_fc": {"type": "conv_fc", "num_convs": 1, "conv_channels": 8, "channels": 8},
}
AnyMapConfig = FastRCNNConfig | FasterRCNNConfig | CascadeRCNNConfig
LOOKS: dict[str, tuple[type[AnyMapConfig], dict[str, Any]]] = {
    "faster_rcnn": (FasterRCNNConfig, {"type": "rpn", "channels": 8, "border_px": None}),
    "fast_rcnn": (FastRCNNConfig, {"type": "selective_search"}),
}
SIDE = 96
# Cascade R-CNN is put together as Faster R-CNN is: one backbone of each family shows that it is.
CASCADE = (CascadeRCNNConfig, LOOKS["faster_rcnn"][1])


def joined(
    name: str, detector: str, head: str, neck: str, proposals: dict[str, Any] | None = None, **backbone: Any
) -> nn.Module:
    kind, look = LOOKS.get(detector, CASCADE)
    own = BACKBONES[name]
    parts = {
        "type": detector,
        "backbone": {**own, "width": 0.125, **backbone},
        "neck": {"type": neck, "channels": 8} if neck == "fpn" else {"type": "none"},
        "proposals": {**look, **(proposals or {})},
        "regions": {"type": "roi_align", "size": 4},
        "head": NEW_HEADS.get(head, {"type": head, "score_threshold": 0.0}),
    }
    return build_detector(kind.model_validate(parts), 2, 0)


def batch() -> TrainBatch:
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=noise, dtype=torch.uint8)
    boxes = torch.tensor([[8.0, 8, 60, 72], [40, 40, 90, 90]])
    targets = tuple(Target.of(boxes, torch.tensor([0, 1]), image=i) for i in range(2))
    whole = torch.tensor([[0.0, 0, SIDE, SIDE], [10, 10, 58, 70], [70, 0, 90, 30]])
    sizes = ((SIDE, SIDE),) * 2
    return TrainBatch(ImageBatch(pixels, sizes, sizes, (whole, whole)), targets)


def check(model: nn.Module) -> None:
    losses = model(batch())
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    learned = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not learned
    found = model.eval().detect(batch().images)  # type: ignore[operator]
    assert len(found) == 2
    for one in found:
        assert ((one.boxes >= 0) & (one.boxes <= SIDE)).all()


@pytest.mark.parametrize("detector", LOOKS)
@pytest.mark.parametrize("name", BACKBONES)
def test_with_its_own_last_stage_on_every_region(name: str, detector: str) -> None:
    check(joined(name, detector, OWN_HEAD[BACKBONES[name]["type"]], "none"))


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_with_its_own_last_stage_in_every_stage_of_a_cascade(name: str) -> None:
    check(joined(name, "cascade_rcnn", OWN_HEAD[BACKBONES[name]["type"]], "none"))


@pytest.mark.parametrize(("name", "detector", "head"), list(product(ONE_OF_A_KIND, LOOKS, NEW_HEADS)))
def test_with_new_heads_on_one_map(name: str, detector: str, head: str) -> None:
    check(joined(name, detector, head, "none"))


@pytest.mark.parametrize(("name", "detector", "head"), list(product(PYRAMIDS, LOOKS, NEW_HEADS)))
def test_with_a_pyramid(name: str, detector: str, head: str) -> None:
    check(joined(name, detector, head, "fpn"))


@pytest.mark.parametrize(("name", "norm"), list(product(PYRAMIDS, NORMS)))
def test_with_every_norm(name: str, norm: str) -> None:
    check(joined(name, "fast_rcnn", "two_fc", "none", norm=norm))


@pytest.mark.parametrize("head", ["svm", "softmax"])
@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_on_regions_that_are_cut_out(name: str, head: str) -> None:
    parts = {
        "type": "rcnn",
        "backbone": {**BACKBONES[name], "width": 0.125},
        "proposals": {"type": "selective_search"},
        "regions": {"type": "warp", "size": 64, "context_px": 4},
        "head": {"type": head, "score_threshold": 0.0},
    }
    model = build_detector(RCNNConfig.model_validate(parts), 2, 0)
    images = batch().images
    assert images.proposals is not None
    boxes = images.proposals[0]
    plan = plan_warp(boxes.numpy(), (SIDE, SIDE), 64, 4, square=False)
    table = images.pixels[0].permute(1, 2, 0).reshape(-1, 3)
    regions = RegionBatch(table, Cuts.in_image(plan, SIDE), torch.tensor([0, 1, 2]), (0, 0, 0))
    loss = model(regions)["head_class"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert len(model.eval().detect(images)) == 2  # type: ignore[operator]


@pytest.mark.parametrize("head", ["svm", "softmax"])
@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_on_regions_pooled_in_a_spatial_pyramid(name: str, head: str) -> None:
    parts = {
        "type": "sppnet",
        "backbone": {**BACKBONES[name], "width": 0.125},
        "proposals": {"type": "selective_search"},
        "regions": {"type": "spp"},
        "head": {"type": head, "score_threshold": 0.0},
    }
    model = build_detector(SPPNetConfig.model_validate(parts), 2, 0)
    loss = model(batch())["head_class"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert len(model.eval().detect(batch().images)) == 2  # type: ignore[operator]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("alexnet", "fast_rcnn", "layer4", "none"), "layer4 needs backbone: resnet"),
        (("zfnet", "faster_rcnn", "two_fc", "fpn"), "fpn needs a backbone with four stages"),
        (
            ("googlenet", "fast_rcnn", "fc6_fc7", "none"),
            "fc6_fc7 needs backbone: alexnet, caffenet, zfnet or vgg",
        ),
        (("resnet18", "fast_rcnn", "inception5", "none"), "inception5 needs backbone: googlenet"),
        (
            ("googlenet", "faster_rcnn", "inception5", "fpn"),
            "inception5 needs backbone: googlenet and neck: none",
        ),
    ],
)
def test_what_cannot_be_joined_is_named(parts: tuple[str, str, str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joined(*parts)


@pytest.mark.parametrize("detector", ["faster_rcnn", "fast_rcnn", "cascade_rcnn"])
def test_a_last_stage_before_the_regions_leaves_new_layers_for_them(detector: str) -> None:
    check(joined("resnet50", detector, "two_fc", "none", dc5=True))


@pytest.mark.parametrize("detector", ["faster_rcnn", "cascade_rcnn"])
def test_a_pyramid_on_two_maps_of_one_stride(detector: str) -> None:
    anchors = {"anchors": {"sizes_px": ((16, 32, 64),) * 3}}
    check(joined("mobilenet_v2", detector, "two_fc", "fpn", proposals=anchors, maps="last_stage"))


def test_maps_of_one_stride_are_for_a_pyramid_and_have_the_same_anchors() -> None:
    backbone = {"type": "mobilenet", "maps": "last_stage"}
    said = "backbone.maps: last_stage needs neck: fpn and proposals: rpn"
    for detector, neck in (("faster_rcnn", "none"), ("fast_rcnn", "none"), ("fast_rcnn", "fpn")):
        with pytest.raises(ValueError, match=said):
            joined("mobilenet_v2", detector, "two_fc", neck, maps="last_stage")
    with pytest.raises(ValueError, match=said):
        RCNNConfig.model_validate({"backbone": backbone})
    with pytest.raises(ValueError, match=r"anchors\.sizes_px has 5 lists, but fpn has 3 feature maps"):
        joined("mobilenet_v2", "faster_rcnn", "two_fc", "fpn", maps="last_stage")
    proposals = {"type": "rpn", "anchors": {"sizes_px": ((32,), (64,), (128,))}}
    parts = {"neck": {"type": "fpn"}, "head": {"type": "two_fc"}}
    spec = FasterRCNNConfig.model_validate({"backbone": backbone, "proposals": proposals, **parts})
    asked: list[int] = []

    def choose(num_maps: int) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
        asked.append(num_maps)
        return ((8.0, 16.0),) * num_maps, (1.0,)

    changed: Any = spec.with_anchors(choose)
    assert changed.proposals.anchors.sizes_px == ((8.0, 16.0),) * 3
    assert (asked, spec.finest_stride) == ([1], 32)


@pytest.mark.parametrize(
    ("detector", "head", "neck", "message"),
    [
        ("faster_rcnn", "layer4", "none", "head: layer4 is what dc5 puts before the regions; take two_fc"),
        ("faster_rcnn", "two_fc", "fpn", "of which dc5 gives the last alone"),
    ],
)
def test_a_last_stage_is_there_once(detector: str, head: str, neck: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joined("resnet50", detector, head, neck, dc5=True)
    with pytest.raises(ValueError, match=r"backbone\.dc5: rcnn needs the last stage behind the map"):
        RCNNConfig.model_validate({"backbone": {"type": "resnet", "dc5": True}})
