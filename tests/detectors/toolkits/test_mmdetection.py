"""What `detkit import --from mmdetection` makes of a file; what it finds is compared in tests/parity."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from detkit.detectors.importers import Foreign, Wanted
from detkit.detectors.toolkits.mmdetection import import_mmdetection
from detkit.errors import UserError
from detkit.workflows.import_model import import_model
from tests.detectors.toolkits.states import State, bottlenecks, outputs

NAMED = Wanted(classes=("cat", "dog"))
CONFIG = """
model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0],
        bgr_to_rgb=False, pad_size_divisor=32),
    backbone=dict(type='ResNet', depth=50, style='caffe'),
    rpn_head=dict(anchor_generator=dict(
        type='AnchorGenerator', scales=[4], ratios=[1.0, 3.0], strides=[4, 8, 16, 32, 64])),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2)),
        bbox_head=dict(bbox_coder=dict(target_stds=[0.05, 0.05, 0.1, 0.1]), num_classes=2)),
    test_cfg=dict(
        rpn=dict(nms_pre=500, max_per_img=300, nms=dict(type='nms', iou_threshold=0.8), min_bbox_size=2),
        rcnn=dict(score_thr=0.1, nms=dict(type='nms', iou_threshold=0.4), max_per_img=50)))
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(1000, 600), keep_ratio=True)]
"""


def detector(*, heads: tuple[str, ...] = ("",), boxes: int = 2, rpn: bool = True, anchors: int = 3) -> State:
    layers: dict[str, tuple[int, ...]] = {}
    for stage in range(4):
        layers[f"neck.lateral_convs.{stage}.conv"] = (8, 8 * 2**stage, 1, 1)
        layers[f"neck.fpn_convs.{stage}.conv"] = (8, 8, 3, 3)
    if rpn:
        layers["rpn_head.rpn_conv"] = (8, 8, 3, 3)
        layers["rpn_head.rpn_cls"] = (anchors, 8, 1, 1)
        layers["rpn_head.rpn_reg"] = (4 * anchors, 8, 1, 1)
    for head in heads:
        begin = f"roi_head.bbox_head.{head}"
        layers |= {f"{begin}shared_fcs.0": (16, 8 * 49), f"{begin}shared_fcs.1": (16, 16)}
        layers |= {f"{begin}fc_cls": (3, 16), f"{begin}fc_reg": (4 * boxes, 16)}
    trunk = {f"backbone.{name}": value for name, value in bottlenecks(stages=4).items()}
    return trunk | {"backbone.bn1.num_batches_tracked": torch.tensor(3)} | outputs(layers)


def written(folder: Path, state: State, *, zipped: bool = True, **more: Any) -> Path:
    file = folder / "epoch_12.pth"
    torch.save({"state_dict": state, **more}, file, _use_new_zipfile_serialization=zipped)
    return file


def keys(read: Foreign) -> dict[str, Any]:
    return {key: json.loads(text) for key, _, text in (one.partition("=") for one in read.overrides)}


def test_without_a_config_it_is_as_the_shipped_ones(tmp_path: Path) -> None:
    mask = {"roi_head.mask_head.conv_logits.bias": torch.zeros(1)}
    read = import_mmdetection([written(tmp_path, detector() | mask)], NAMED)
    found = keys(read)
    assert (read.config, read.unused) == ("faster_rcnn_resnet50_fpn_coco", tuple(mask))
    assert found["detector.backbone"]["stride_in"] == "3x3"
    assert found["data.resize"] == {"short_px": 800, "long_px": 1333, "like": "opencv"}
    assert found["detector.multiple_of"] == 32
    anchors = found["detector.proposals"]["anchors"]
    assert (anchors["sizes_px"], anchors["over"]) == ([[32], [64], [128], [256], [512]], "padding")
    assert not any("num_batches" in name for name in read.state)
    for name in (
        "neck.inner_blocks.3.0.weight", "neck.layer_blocks.0.0.bias", "rpn.head.conv.0.0.weight",
        "rpn.head.cls_logits.bias", "roi_head.head.fc7.weight", "roi_head.predictor.bbox_pred.bias",
        "backbone.layer1.0.downsample.1.running_var",
    ):  # fmt: skip
        assert name in read.state


@pytest.mark.parametrize("key", ["cfg", "config"])
def test_what_its_config_says_is_taken_over(key: str, tmp_path: Path) -> None:
    state = detector(anchors=2)
    weight = torch.zeros(4, 3, 7, 7)
    weight[:, 2] = 1.0
    state["backbone.conv1.weight"] = weight
    read = import_mmdetection([written(tmp_path, state, meta={key: CONFIG})], NAMED)
    found = keys(read)
    assert read.state["backbone.conv1.weight"][0, 0, 0, 0].item() == pytest.approx(255 * 0.229)
    assert found["detector.backbone"]["stride_in"] == "1x1"
    assert found["data.resize"] == {"short_px": 600, "long_px": 1000, "like": "opencv"}
    proposals, head = found["detector.proposals"], found["detector.head"]
    assert proposals["anchors"]["sizes_px"] == [[16], [32], [64], [128], [256]]
    assert proposals["anchors"]["ratios"] == [1.0, 3.0]
    wanted = {"pre_nms_test": 500, "post_nms_test": 300, "nms_iou": 0.8, "min_size_px": 2}
    assert {key: proposals[key] for key in wanted} == wanted
    wanted = {"score_threshold": 0.1, "nms_iou": 0.4, "detections_per_image": 50}
    assert {key: head[key] for key in wanted} == wanted
    assert head["box_weights"] == [20, 20, 10, 10]
    assert found["detector.regions"]["sampling_ratio"] == 2
    read = import_mmdetection([tmp_path / "epoch_12.pth"], Wanted("pytorch", ("cat", "dog")))
    assert keys(read)["detector.backbone"]["stride_in"] == "3x3"


def test_the_config_of_version_2(tmp_path: Path) -> None:
    text = (
        CONFIG[: CONFIG.index("test_pipeline")].replace("data_preprocessor=", "unknown=")
        + """
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
data = dict(test=dict(pipeline=[dict(type='MultiScaleFlipAug', img_scale=(500, 400), flip=False)]))
"""
    )
    file = written(tmp_path, detector(), zipped=False, meta={"config": text, "CLASSES": ("cat", "dog")})
    read = import_mmdetection([file], Wanted())
    assert read.classes == ("cat", "dog")
    assert keys(read)["data.resize"] == {"short_px": 400, "long_px": 500, "like": "opencv"}


def test_cascade_and_fast_rcnn(tmp_path: Path) -> None:
    state = detector(heads=("0.", "1.", "2."), boxes=1)
    heads = ", ".join(
        f"dict(bbox_coder=dict(target_stds=[{std}, {std}, 0.2, 0.2]))" for std in (0.1, 0.04, 0.02)
    )
    text = f"model = dict(roi_head=dict(bbox_head=[{heads}]))"
    read = import_mmdetection([written(tmp_path, state, meta={"cfg": text})], NAMED)
    found = keys(read)
    assert read.config == "cascade_rcnn_resnet50_fpn_coco"
    assert found["detector.scores"] == "own_logits"
    assert found["detector.head"]["box_weights"] == [10, 10, 5, 5]
    told = [stage["box_weights"] for stage in found["detector.later_stages"]]
    assert told == [[25, 25, 5, 5], [50, 50, 5, 5]]
    assert [stage["loss_weight"] for stage in found["detector.later_stages"]] == [0.5, 0.25]
    assert "later_stages.1.head.fc6.weight" in read.state
    read = import_mmdetection([written(tmp_path, detector(rpn=False), meta={"cfg": CONFIG})], NAMED)
    assert read.config == "fast_rcnn_vgg16_coco"
    assert keys(read)["detector.proposals"] == {"type": "selective_search"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("RoIAlign", "RoIPool"), "roi_layer.type of its config is RoIPool; detkit's is RoIAlign"),
        (("score_thr=0.1, nms=dict(type='nms'", "score_thr=0.1, nms=dict(type='soft_nms'"), "soft_nms"),
        (("'FasterRCNN'", "'GridRCNN'"), "model.type of its config is GridRCNN"),
        (("[103.53, 116.28, 123.675]", "[102.98, 115.95, 122.77]"), "its network takes the mean"),
    ],
)  # fmt: skip
def test_what_works_in_another_way_is_refused(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    assert change[0] in CONFIG
    file = written(tmp_path, detector(), meta={"cfg": CONFIG.replace(*change)})
    with pytest.raises(UserError, match=message) as told:
        import_mmdetection([file], NAMED)
    assert "epoch_12.pth" in str(told.value)


def test_objects_of_its_packages_are_passed_over_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of a training has its log in it."""
    module = ModuleType("mmengine")

    class HistoryBuffer:
        def __init__(self) -> None:
            self.log = np.arange(3.0)
            self.statistics_methods = {"mean": HistoryBuffer.mean}  # pickled as a getattr of the class

        def mean(self) -> float:
            return float(self.log.mean())

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = "mmengine", "HistoryBuffer"
    HistoryBuffer.mean.__module__, HistoryBuffer.mean.__qualname__ = "mmengine", "HistoryBuffer.mean"
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmengine", module)
    hub = {"log_scalars": {"loss": HistoryBuffer()}, "best": np.float64(0.5)}
    file = written(tmp_path, detector(), message_hub=hub, meta={"dataset_meta": {"classes": ["cat", "dog"]}})
    monkeypatch.delitem(sys.modules, "mmengine")
    assert import_mmdetection([file], Wanted()).classes == ("cat", "dog")
    assert "mmengine" not in sys.modules


class Runs:
    """What runs a command where it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.ran}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_a_command_is_refused(zipped: bool, tmp_path: Path) -> None:
    file = written(tmp_path, {}, zipped=zipped, meta={"config": Runs(tmp_path / "ran")})
    with pytest.raises(UserError, match=r"epoch_12\.pth is damaged or holds something else"):
        import_model(file, "mmdetection")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "message"),
    [([1], "holds no state_dict"), ({"state_dict": {"a": 1}}, "holds no state_dict"), ({}, "is no ResNet")],
)
def test_other_files_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=message):
        import_model(tmp_path / "a.pth", "mmdetection")
    (tmp_path / "b.pth").write_bytes(pickle.dumps({"state_dict": {}}))
    with pytest.raises(UserError, match=r"b\.pth is damaged"):
        import_model(tmp_path / "b.pth", "mmdetection")
