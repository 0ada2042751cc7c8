"""What `detkit import --from detectron2` makes of a file; what it finds is compared in tests/parity."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detkit.detectors.importers import Foreign, Wanted
from detkit.detectors.toolkits.detectron2 import import_detectron2, our_name
from detkit.errors import UserError
from detkit.workflows.import_model import import_model
from tests.detectors.toolkits.states import State, bottlenecks, numbered, outputs
from tests.reference.recorded_detectors import read_record, weights

NAMED = Wanted(classes=("cat", "dog"))


def theirs(state: State, prefix: str) -> State:
    """Return a ResNet under detectron2's names."""
    changed = {}
    for name, value in state.items():
        own = re.sub(r"layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
        own = own.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
        own = re.sub(r"bn(\d)\.", r"conv\1.norm.", own)
        changed[prefix + ("stem." if own.startswith("conv1") else "") + own] = value
    return changed


def rpn(channels: int, anchors: int) -> State:
    begin = "proposal_generator.rpn_head."
    return outputs(
        {
            f"{begin}conv": (channels, channels, 3, 3),
            f"{begin}objectness_logits": (anchors, channels, 1, 1),
            f"{begin}anchor_deltas": (4 * anchors, channels, 1, 1),
        }
    )


def predictor(number: str = "", classes: int = 2, width: int = 16, boxes: int | None = None) -> State:
    begin = f"roi_heads.box_predictor.{number}"
    boxes = classes if boxes is None else boxes
    return outputs({f"{begin}cls_score": (classes + 1, width), f"{begin}bbox_pred": (4 * boxes, width)})


def fc(number: str = "", columns: int = 8 * 49, width: int = 16) -> State:
    begin = f"roi_heads.box_head.{number}"
    return outputs({f"{begin}fc1": (width, columns), f"{begin}fc2": (width, width)})


def fpn(channels: int = 8, **keys: int) -> State:
    layers: dict[str, tuple[int, ...]] = {}
    for stage in range(2, 6):
        layers[f"backbone.fpn_lateral{stage}"] = (channels, 2 * 2**stage, 1, 1)
        layers[f"backbone.fpn_output{stage}"] = (channels, channels, 3, 3)
    return theirs(bottlenecks(stages=4, **keys), "backbone.bottom_up.") | outputs(layers)


def c4() -> State:
    whole = theirs(bottlenecks(stages=4), "backbone.")
    last = {k.replace("backbone.", "roi_heads."): v for k, v in whole.items() if "res5" in k}
    return {k: v for k, v in whole.items() if "res5" not in k} | last | rpn(32, 15) | predictor(width=64)


def written(folder: Path, state: State, **more: Any) -> Path:
    file = folder / "model_final.pkl"
    file.write_bytes(pickle.dumps({"model": {k: v.numpy() for k, v in state.items()}, **more}))
    return file


def keys(read: Foreign) -> dict[str, Any]:
    return {key: json.loads(text) for key, _, text in (one.partition("=") for one in read.overrides)}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("backbone.bottom_up.stem.conv1.weight", "backbone.conv1.weight"),
        ("backbone.stem.conv1.norm.bias", "backbone.bn1.bias"),
        ("backbone.bottom_up.res2.0.shortcut.weight", "backbone.layer1.0.downsample.0.weight"),
        ("backbone.res4.22.shortcut.norm.bias", "backbone.layer3.22.downsample.1.bias"),
        ("roi_heads.res5.1.conv3.norm.weight", "roi_head.head.layer4.1.bn3.weight"),
        ("backbone.fpn_lateral2.weight", "neck.inner_blocks.0.0.weight"),
        ("backbone.fpn_output5.norm.running_var", "neck.layer_blocks.3.1.running_var"),
        ("proposal_generator.rpn_head.conv.bias", "rpn.head.conv.0.0.bias"),
        ("proposal_generator.rpn_head.conv.conv1.bias", "rpn.head.conv.1.0.bias"),
        ("roi_heads.box_head.fc2.weight", "roi_head.head.fc7.weight"),
        ("roi_heads.box_head.conv4.norm.weight", "roi_head.head.convs.3.1.weight"),
        ("roi_heads.box_head.2.fc1.weight", "later_stages.1.head.fc6.weight"),
        ("roi_heads.box_predictor.0.cls_score.bias", "roi_head.predictor.cls_score.bias"),
        ("backbone.bottom_up.res3.0.conv2_offset.weight", "backbone.layer2.0.conv2_offset.weight"),
        ("something.else", "something.else"),
    ],
)
def test_names(name: str, ours: str) -> None:
    assert our_name(name) == ours


def test_faster_rcnn_with_a_pyramid(tmp_path: Path) -> None:
    mask = {"roi_heads.mask_head.deconv.weight": torch.zeros(1)}
    read = import_detectron2([written(tmp_path, fpn() | rpn(8, 3) | fc() | predictor() | mask)], NAMED)
    found = keys(read)
    assert read.config == "faster_rcnn_resnet50_fpn_coco"
    assert read.unused == tuple(mask)
    assert found["detector.backbone"]["stride_in"] == "1x1"
    proposals = found["detector.proposals"]
    assert (proposals["pre_nms_test"], proposals["post_nms_test"]) == (1000, 1000)
    assert proposals["anchors"]["sizes_px"] == [[32], [64], [128], [256], [512]]
    assert found["detector.regions"] == {
        "type": "roi_align", "size": 7, "sampling_ratio": 0, "aligned": True,
    }  # fmt: skip
    assert (found["detector.multiple_of"], found["data.resize.like"]) == (32, "pillow")


def test_c4_has_anchors_of_five_sizes_in_the_order_of_ours(tmp_path: Path) -> None:
    state = numbered(c4(), "proposal_generator.rpn_head.objectness_logits.weight")
    state = numbered(state, "proposal_generator.rpn_head.anchor_deltas.weight")
    read = import_detectron2([written(tmp_path, state)], NAMED)
    found = keys(read)
    # They go through the ratios of each size, we through the sizes of each ratio.
    rows = [5 * [ratio] for ratio in range(3)]
    wanted = [ratio + 3 * size for own in rows for size, ratio in enumerate(own)]
    assert read.state["rpn.head.cls_logits.weight"][:, 0, 0, 0].tolist() == wanted
    moves = read.state["rpn.head.bbox_pred.weight"][:, 0, 0, 0].tolist()
    assert moves == [4 * row + side for row in wanted for side in range(4)]
    assert found["detector.proposals"]["pre_nms_test"] == 6000
    assert found["detector.head"]["type"] == "layer4"
    assert (found["detector.regions"]["size"], found["detector.multiple_of"]) == (14, 1)


def test_dc5_has_the_last_stage_before_the_regions(tmp_path: Path) -> None:
    state = theirs(bottlenecks(stages=4), "backbone.")
    state |= rpn(64, 15) | fc(columns=64 * 49) | predictor()
    found = keys(import_detectron2([written(tmp_path, state)], NAMED))
    assert found["detector.backbone"]["dc5"]
    assert (found["detector.head"]["type"], found["detector.regions"]["size"]) == ("two_fc", 7)
    assert found["detector.neck"] == {"type": "none"}


def test_cascade_and_fast_rcnn(tmp_path: Path) -> None:
    heads: State = {}
    for number in ("0.", "1.", "2."):
        heads |= fc(number) | predictor(number, boxes=1)
    read = import_detectron2([written(tmp_path, fpn() | rpn(8, 3) | heads)], NAMED)
    assert read.config == "cascade_rcnn_resnet50_fpn_coco"
    assert keys(read)["detector.scores"] == "own"
    assert "later_stages.1.predictor.bbox_pred.weight" in read.state
    read = import_detectron2([written(tmp_path, fpn() | fc() | predictor())], NAMED)
    assert read.config == "fast_rcnn_vgg16_coco"
    assert keys(read)["detector.proposals"] == {"type": "selective_search"}


@pytest.mark.parametrize(
    ("arch", "groups", "tells", "stride_in", "first"),
    [
        (None, 1, None, "1x1", 255 * 0.229),
        (None, 32, None, "3x3", 1.0),
        ("pytorch", 1, None, "3x3", 0.0),
        (None, 1, ([103.53, 116.28, 123.675], [1.0, 1, 1]), "1x1", 255 * 0.229),
        (None, 1, ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]), "3x3", 0.0),
        ("caffe", 1, ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]), "1x1", 255 * 0.229),
    ],
)
def test_how_the_network_takes_pixels(
    arch: str | None, groups: int, tells: Any, stride_in: str, first: float, tmp_path: Path
) -> None:
    """Only the third channel counts: blue of RGB, red of BGR."""
    state = fpn(groups=groups, width=2 if groups == 1 else 1) | rpn(8, 3) | fc() | predictor()
    weight = torch.zeros(4, 3, 7, 7)
    weight[:, 2] = 1.0
    state["backbone.bottom_up.stem.conv1.weight"] = weight
    if tells:
        values = (torch.tensor(value).view(3, 1, 1) for value in tells)
        state |= dict(zip(("pixel_mean", "pixel_std"), values, strict=True))
    read = import_detectron2([written(tmp_path, state)], Wanted(arch, ("cat", "dog")))
    assert keys(read)["detector.backbone"]["stride_in"] == stride_in
    assert read.state["backbone.conv1.weight"][0, 0, 0, 0].item() == pytest.approx(first)
    assert not read.unused


def test_anchors_that_a_file_holds(tmp_path: Path) -> None:
    state = fpn() | rpn(8, 2) | fc() | predictor()
    for level in range(5):
        side = 20.0 * 2**level
        cells = torch.tensor([[-side / 2, -side / 2, side / 2, side / 2], [-side / 4, -side, side / 4, side]])
        state[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = cells
    anchors = keys(import_detectron2([written(tmp_path, state)], NAMED))["detector.proposals"]["anchors"]
    assert anchors["sizes_px"] == [[20.0], [40.0], [80.0], [160.0], [320.0]]
    assert anchors["ratios"] == [1.0, 4.0]


def test_names_of_classes(tmp_path: Path) -> None:
    file = written(tmp_path, fpn() | rpn(8, 3) | fc() | predictor(classes=80))
    names = import_detectron2([file], Wanted()).classes
    assert (len(names), names[0], names[11], names[79]) == (80, "person", "stop sign", "toothbrush")
    assert import_detectron2([file], Wanted(classes=tuple(map(str, range(80))))).classes[3] == "3"
    with pytest.raises(UserError, match=r"has 80 classes .* got 2"):
        import_detectron2([file], NAMED)
    person = predictor(classes=1) | {"roi_heads.keypoint_head.conv_fcn1.weight": torch.zeros(1)}
    file = written(tmp_path, fpn() | rpn(8, 3) | fc() | person)
    assert import_detectron2([file], Wanted()).classes == ("person",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"blobs": {"conv1_w": np.zeros(3)}}, "Detectron, the program before detectron2"),
        ({"model": {"a": "text"}}, "a is a str, no array of numbers"),
        ({"model": {"a": np.array(["x"])}}, "a is a ndarray, no array of numbers"),
        ([1, 2], "holds no weights by name"),
        ({"model": {"a": np.zeros(3)}}, "its backbone is no ResNet"),
        ({"model": {k: v.numpy() for k, v in fpn().items()}}, "holds no detector of regions"),
    ],
)
def test_other_files_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message) as told:
        import_model(tmp_path / "a.pkl", "detectron2")
    assert "a.pkl" in str(told.value)
    assert not (tmp_path / "a.safetensors").exists()


def test_what_no_part_is_known_for_is_named(tmp_path: Path) -> None:
    state: dict[str, Any] = dict(weights(read_record("detectron2_faster")))
    state["backbone.bottom_up.res4.0.conv2_offset.weight"] = np.zeros(1)
    del state["roi_heads.box_predictor.cls_score.bias"]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": state}))
    with pytest.raises(UserError) as told:
        import_model(tmp_path / "a.pkl", "detectron2", classes=("a", "b", "c"))
    assert "not in it: roi_head.predictor.cls_score.bias" in str(told.value)
    assert "left over: backbone.layer3.0.conv2_offset.weight" in str(told.value)


class Runs:
    """What runs a command where it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.ran}",)


@pytest.mark.parametrize("name", ["model_final.pkl", "model_final.pth"])
def test_a_file_that_would_run_a_command_is_refused(name: str, tmp_path: Path) -> None:
    file, content = tmp_path / name, {"model": {}, "trainer": Runs(tmp_path / "ran")}
    if file.suffix == ".pkl":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    with pytest.raises(UserError, match=f"{re.escape(name)} is damaged or holds"):
        import_model(file, "detectron2")
    assert list(tmp_path.iterdir()) == [file]
