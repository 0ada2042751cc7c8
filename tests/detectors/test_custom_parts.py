"""Every part of a detector can be the user's own: built from a config, trained a step, asked for boxes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set
from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.errors import UserError
from detkit.models.roi.config import RoIAlignConfig
from detkit.models.rpn.rpn import RPN
from detkit.models.rpn.rpn_head import RPNHead
from detkit.ops.anchors import AnchorGrid
from detkit.runs.learning import fit_of
from detkit.runs.predictor import build_rpn_proposer
from detkit.spec import OwnPart
from detkit.structures import ImageBatch, Target, TrainBatch
from detkit.workflows.show_data import show_data
from detkit.workflows.train import train
from tests.detectors.own_parts import Neck, Regions

RESNET = {"type": "resnet", "depth": 18, "width": 0.125}
FASTER: dict[str, Any] = {
    "type": "faster_rcnn",
    "backbone": RESNET,
    "proposals": {"type": "rpn", "channels": 8, "anchors": {"sizes_px": ((16.0, 32.0),)}},
    "regions": {"type": "roi_align", "size": 3},
    "head": {"type": "two_fc", "channels": 8},
}
FAST = {**FASTER, "type": "fast_rcnn", "proposals": {"type": "sliding_window"}}
SPP: dict[str, Any] = {
    "type": "sppnet",
    "backbone": {"type": "alexnet", "width": 0.125},
    "proposals": {"type": "sliding_window"},
    "regions": {"type": "spp"},
    "head": {"type": "softmax"},
}
RCNN = {**SPP, "type": "rcnn", "regions": {"type": "warp", "size": 64, "context_px": 4}}
K = 2
BOXES = torch.tensor([[4.0, 6.0, 40.0, 44.0], [20.0, 8.0, 60.0, 60.0], [50.0, 30.0, 90.0, 62.0]])


@pytest.fixture(autouse=True)
def own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(Path(__file__).parent / "own_parts.py", tmp_path / "my_own_parts.py")
    monkeypatch.syspath_prepend(str(tmp_path))


def custom(name: str, **args: Any) -> dict[str, Any]:
    return {"type": "custom", "target": f"my_own_parts:{name}", "args": args}


def config_of(detector: dict[str, Any]) -> Config:
    """A whole config with this detector, on synthetic images."""
    usual = load_config(
        "faster_rcnn_resnet18_synthetic",
        [
            "device=cpu",
            "data.resize={short_px: 96, long_px: 128}",
            "data.train.num_images=4",
            "data.val.num_images=2",
            "data.workers=0",
        ],
    )
    values = usual.model_dump() | {"detector": detector}
    if detector["type"] in ("rcnn", "sppnet"):
        values["train"] = {"type": "staged", "cache": "none", "fine_tune": {"steps": 2, "batch_size": 8}}
        values["data"]["resize"] = None if detector["type"] == "rcnn" else values["data"]["resize"]
        values["data"]["train"]["augment"] = ()
    return Config.model_validate(values)


def build(detector: dict[str, Any]) -> nn.Module:
    return build_detector(config_of(detector).detector, K, 0)


def batch() -> TrainBatch:
    pixels = torch.randint(0, 255, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    sizes, labels = ((64, 96), (64, 90)), torch.tensor([0, 1])
    targets = tuple(Target.of(BOXES[:2] + image, labels, image) for image in (0, 1))
    return TrainBatch(ImageBatch(pixels.to(torch.uint8), sizes, sizes, (BOXES, BOXES[:1])), targets, seed=1)


def train_a_step_and_detect(model: nn.Module, *owners: str) -> list[Any]:
    """Losses have gradients in the user's own parts, and detections are finite and in the image."""
    losses: dict[str, Tensor] = model.train()(batch())
    sum(losses.values()).backward()
    for owner in owners:
        gradients = [parameter.grad for parameter in model.get_submodule(owner).parameters()]
        assert gradients
        assert all(each is not None and bool(torch.isfinite(each).all()) for each in gradients)
    found = model.eval().detect(batch().images)
    assert len(found) == 2
    for own in found:
        assert bool(torch.isfinite(own.boxes).all())
        assert own.boxes.shape == (len(own.scores), 4)
    return list(found)


SMALL_ANCHORS = {
    "type": "rpn",
    "channels": 8,
    "anchors": {"sizes_px": ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))},
}


@pytest.mark.parametrize("last", [True, False])
def test_neck(last: bool) -> None:
    model = build({**FASTER, "neck": custom("Neck", width=8, last=last), "proposals": SMALL_ANCHORS})
    assert model.rpn.strides == (4, 8, 16, 32, 64)  # it got all four maps of the backbone
    assert model.roi_head.features.strides == (4, 8, 16, 32, 64)[: 5 if last else 4]
    train_a_step_and_detect(model, "neck")


def test_neck_of_a_backbone_with_one_map_and_of_fast_rcnn() -> None:
    model = build({**FAST, "backbone": SPP["backbone"], "neck": custom("Neck", width=8)})
    assert model.roi_head.features.strides == (16, 32)
    train_a_step_and_detect(model, "neck.convs")


def test_backbone_with_as_many_maps_as_it_likes() -> None:
    sizes = ((16.0,), (32.0,))
    proposals = {"type": "rpn", "channels": 8, "anchors": {"sizes_px": sizes}}
    model = build({**FASTER, "backbone": custom("Backbone", strides=(8, 16)), "proposals": proposals})
    assert model.rpn.strides == (8, 16)
    train_a_step_and_detect(model, "backbone")


def test_proposals() -> None:
    model = build({**FASTER, "proposals": custom("Proposals", side=24.0)})
    assert isinstance(model, FasterRCNN)
    found = train_a_step_and_detect(model, "rpn")
    assert sum(len(own.boxes) for own in found) > 0
    assert model.candidates is None
    for anchors, regions in model.training_boxes(batch()):
        assert anchors.shape == (0, 4)
        assert len(regions) >= 2  # the objects themselves
    assert model.map_modules() == [model.backbone, model.neck]


def test_what_asks_for_anchors_goes_on_without_them(tmp_path: Path) -> None:
    config = config_of({**FASTER, "proposals": custom("Proposals", side=24.0)})
    source, _ = open_training_set(config.data)
    assert fit_of(config, source) is None
    assert config.detector.with_anchors(lambda num: (((1.0,),) * num, (1.0,))) is None
    show_data(config, out=tmp_path / "shown")
    assert any((tmp_path / "shown").iterdir())


def test_proposals_in_four_steps_and_for_other_detectors(tmp_path: Path) -> None:
    turn = {"epochs": 1, "batch_size": 2, "optimizer": {"type": "sgd", "lr": 0.01}}
    config = config_of({**FASTER, "proposals": custom("Proposals", side=24.0)})
    values = config.model_dump()
    values["train"] = {
        "type": "alternating",
        "precision": "fp32",
        "rpn": turn,
        "fast_rcnn": turn,
        "post_nms": 9,
    }
    assert train(Config.model_validate(values), out=tmp_path / "run") is not None
    file = tmp_path / "run" / "model.safetensors"
    proposer = build_rpn_proposer(file, max_boxes=5, device="cpu", allow_custom=True)
    assert len(proposer(np.full((60, 80, 3), 100, np.uint8)).boxes) == 5


@pytest.mark.parametrize("detector", [FASTER, FAST])
def test_regions(detector: dict[str, Any]) -> None:
    model = build({**detector, "regions": custom("Regions", size=2)})
    assert model.roi_head.head.fc6.in_features == 4 * model.neck.channels[0]
    train_a_step_and_detect(model, "roi_head.features")
    assert any(name.startswith("roi_head.features.") for name in model.state_dict())


def test_regions_of_a_pyramid_get_the_maps_that_regions_are_taken_from() -> None:
    model = build({**FAST, "neck": {"type": "fpn", "channels": 8}, "regions": custom("Regions", size=2)})
    assert model.roi_head.features.pool.strides == (4, 8, 16, 32)
    train_a_step_and_detect(model, "roi_head.features")


def test_regions_of_sppnet() -> None:
    model = build({**SPP, "regions": custom("Regions", size=2)})
    assert model.widths["pool5"] == 4 * model.network.backbone.channels[-1]
    train_a_step_and_detect(model)


@pytest.mark.parametrize("detector", [FASTER, FAST])
def test_head(detector: dict[str, Any]) -> None:
    model = build({**detector, "head": custom("Head")})
    found = train_a_step_and_detect(model, "roi_head")
    assert len(found[0].boxes) > 0
    assert model.fc_layers == []
    assert all(regions.shape == (0, 4) for _, regions in model.training_boxes(batch()))
    if detector is FAST:
        assert model.candidates is None


def test_every_part_at_once() -> None:
    parts = {
        "neck": custom("Neck", width=8),
        "proposals": custom("Proposals", side=24.0),
        "regions": custom("Regions", size=2),
        "head": custom("Head"),
    }
    train_a_step_and_detect(build({**FASTER, **parts}), "neck.convs.3", "rpn", "roi_head")


def test_head_of_sppnet() -> None:
    model = build({**SPP, "backbone": RESNET, "head": custom("Decision")})
    found = train_a_step_and_detect(model, "decision")
    assert len(found[0].boxes) > 0


def test_heads_in_a_staged_training(tmp_path: Path) -> None:
    for detector in (RCNN, SPP):
        config = config_of({**detector, "backbone": RESNET, "head": custom("Decision")})
        folder = tmp_path / str(detector["type"])
        trained = train(config, out=folder)
        assert trained is not None
        assert trained.measured is not None
        assert (folder / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (
            {**FASTER, "proposals": custom("Without")},
            "proposals: my_own_parts:Without must give .* without losses, propose, train_limits, test_limits",
        ),
        ({**FASTER, "neck": custom("Without")}, "regions: roi_align needs maps of one number of channels"),
        (
            {**FASTER, "backbone": custom("Without", channels=(8, 8), strides=(16,))},
            r"backbone: channels and strides of .* they are \[8, 8\] and \[16\]",
        ),
        (
            {**FAST, "backbone": custom("Without", channels=(8, 8), strides=(8, 32))},
            r"regions: roi_align .* strides double from one to the next, got \[8, 32\]",
        ),
        (
            {**FASTER, "neck": custom("Neck", width=8, sides=1)},
            "my_own_parts:Neck.*called with channels, strides, width, sides",
        ),
        ({**FASTER, "regions": custom("Without")}, "regions: .* without size"),
        ({**FASTER, "regions": custom("Without", size="7")}, "regions: channels of what .* got"),
        (
            {**FASTER, "neck": custom("Neck", width=8)},
            "1 lists of sizes, but there are 5 feature maps",
        ),
        ({**RCNN, "head": custom("Without")}, "head: .* without layer, loss, scores, deltas"),
        (
            {**FAST, "neck": custom("Without", region_strides=(3,))},
            r"neck: region_strides .* must be the first of its strides, \[4, 8, 16, 32\]; they are \[3\]",
        ),
    ],
)
def test_parts_that_do_not_fit(detector: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(detector)


def test_regions_of_another_shape_are_told() -> None:
    model = build({**FAST, "regions": custom("Regions", size=3, gives=2)})
    with pytest.raises(
        UserError, match=r"regions: my_own_parts:Regions must return .*3, 3\); it returned .*2, 2"
    ):
        model(batch())


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ({**RCNN, "regions": custom("Regions", size=2)}, "rcnn with regions: custom cannot be"),
        (
            {**FAST, "head": {"type": "layer4"}, "neck": custom("Neck", width=8)},
            "layer4 needs .* and neck: none",
        ),
        ({**FAST, "regions": custom("Regions", size=2), "scales_px": (64, 96)}, "scales_px needs regions"),
        ({**SPP, "regions": custom("Regions", size=2), "scales_px": (64, 96)}, "scales_px needs regions"),
        ({**FAST, "neck": custom("Neck", width=8), "scales_px": (64, 96)}, "scales_px needs neck: none"),
    ],
)
def test_combinations_that_cannot_be(detector: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(detector)


def test_proposals_without_a_type_are_an_rpn() -> None:
    parts = {**FASTER, "proposals": {"channels": 8}, "regions": RoIAlignConfig(size=3)}
    assert config_of(parts).detector.proposals.type == "rpn"


def test_examples_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    section = page.split("## Your own parts")[1].split("\n## ")[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    (tmp_path / "my.py").write_text("\n".join(text for kind, text in blocks if kind == "python"))
    examples = [text for kind, text in blocks if kind == "yaml" and text.startswith("detector:")]
    faster, rcnn = (yaml.safe_load(text)["detector"] for text in examples)
    model = build(faster)
    assert model.rpn.nms_iou == 0.6
    train_a_step_and_detect(model, "neck", "rpn", "roi_head")
    assert model.candidates == "anchors"
    found = build(rcnn).detect(batch().images)
    assert [len(own.boxes) for own in found] == [K * len(BOXES), K]  # untrained, every class is as likely


def test_modules_made_in_python_take_the_places_of_targets() -> None:
    neck, strides = Neck((64,), (16,), width=8), (16, 32)
    parts = {
        "neck": neck,
        "proposals": RPN(RPNHead(8, channels=8, num_anchors=3), AnchorGrid([[16.0], [32.0]]), strides),
        "regions": Regions((8, 8), strides, size=2),
    }
    detector = {**FASTER, "backbone": {"type": "alexnet", "width": 0.25}}
    model = build(detector | {key: OwnPart(part=part) for key, part in parts.items()})
    assert (model.neck, model.rpn) == (neck, parts["proposals"])
    train_a_step_and_detect(model, "neck", "rpn", "roi_head.features")


def test_a_pyramid_on_an_own_backbone_is_not_shifted() -> None:
    model = build({**SPP, "backbone": custom("Backbone", strides=(8, 16))})
    assert model.network.features.pool.keywords["shift"] == 0.0  # type: ignore[union-attr]
