"""MMDetection's Faster, Fast and Cascade R-CNN of versions 2 and 3, and the box part of Mask R-CNN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from detkit.detectors.importers import Foreign, Wanted
from detkit.detectors.toolkits.config_text import looked_up, mappings, read_config_text
from detkit.detectors.toolkits.detectron2 import Renamed, renamed
from detkit.detectors.toolkits.pixels import STYLES, Style, style_named
from detkit.detectors.toolkits.region_detector import (
    Parts,
    fitted_names,
    foreign,
    kind_of,
    parts_of,
    stage,
)
from detkit.errors import UserError
from detkit.models.pretrained import read_content

OTHER_HEADS = ("roi_head.mask_head.", "data_preprocessor.")
STAND_INS = ("mmengine", "mmcv", "mmdet", "numpy", "builtins.getattr")
"""Packages whose objects a checkpoint may hold beside its weights; a log's refer to methods by getattr."""

# What MMDetection's names begin with -> what ours do; those of the backbone are the same.
NAMES: Renamed = (
    (r"neck\.lateral_convs\.(\d)\.conv\.", lambda m: f"neck.inner_blocks.{m[1]}.0."),
    (r"neck\.lateral_convs\.(\d)\.bn\.", lambda m: f"neck.inner_blocks.{m[1]}.1."),
    (r"neck\.fpn_convs\.(\d)\.conv\.", lambda m: f"neck.layer_blocks.{m[1]}.0."),
    (r"neck\.fpn_convs\.(\d)\.bn\.", lambda m: f"neck.layer_blocks.{m[1]}.1."),
    (r"rpn_head\.rpn_conv\.", lambda m: "rpn.head.conv.0.0."),
    (r"rpn_head\.rpn_cls\.", lambda m: "rpn.head.cls_logits."),
    (r"rpn_head\.rpn_reg\.", lambda m: "rpn.head.bbox_pred."),
    (
        r"roi_head\.bbox_head\.(?:(\d)\.)?shared_fcs\.(\d)\.",
        lambda m: f"{stage(m[1])}.head.fc{int(m[2]) + 6}.",
    ),
    (
        r"roi_head\.bbox_head\.(?:(\d)\.)?shared_convs\.(\d)\.conv\.",
        lambda m: f"{stage(m[1])}.head.convs.{m[2]}.0.",
    ),
    (
        r"roi_head\.bbox_head\.(?:(\d)\.)?shared_convs\.(\d)\.bn\.",
        lambda m: f"{stage(m[1])}.head.convs.{m[2]}.1.",
    ),
    (r"roi_head\.bbox_head\.(?:(\d)\.)?fc_cls\.", lambda m: f"{stage(m[1])}.predictor.cls_score."),
    (r"roi_head\.bbox_head\.(?:(\d)\.)?fc_reg\.", lambda m: f"{stage(m[1])}.predictor.bbox_pred."),
)
# Settings of its config -> keys of ours, where they are plain numbers.
SETTINGS: Sequence[tuple[tuple[str, ...], str, str]] = (
    (("test_cfg", "rpn", "nms_pre"), "proposals", "pre_nms_test"),
    (("test_cfg", "rpn", "max_per_img"), "proposals", "post_nms_test"),
    (("test_cfg", "rpn", "nms", "iou_threshold"), "proposals", "nms_iou"),
    (("test_cfg", "rpn", "min_bbox_size"), "proposals", "min_size_px"),
    (("test_cfg", "rcnn", "score_thr"), "head", "score_threshold"),
    (("test_cfg", "rcnn", "nms", "iou_threshold"), "head", "nms_iou"),
    (("test_cfg", "rcnn", "max_per_img"), "head", "detections_per_image"),
    (("roi_head", "bbox_roi_extractor", "roi_layer", "sampling_ratio"), "regions", "sampling_ratio"),
)
# What the moves of a cascade's later stages are divided by, rounded in its configs.
LATER_STDS = ((0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))
# What detkit has one way of: place in its config, and the values that it may have.
ONE_WAY: Sequence[tuple[tuple[str, ...], tuple[Any, ...]]] = (
    (("type",), ("FasterRCNN", "FastRCNN", "CascadeRCNN", "MaskRCNN")),
    (("roi_head", "bbox_roi_extractor", "roi_layer", "type"), ("RoIAlign",)),
    (("roi_head", "bbox_roi_extractor", "finest_scale"), (56,)),
    (("roi_head", "bbox_head", "reg_decoded_bbox"), (False,)),
    (("test_cfg", "rcnn", "nms", "type"), ("nms",)),
    (("rpn_head", "anchor_generator", "type"), ("AnchorGenerator",)),
)


def import_mmdetection(files: Sequence[Path], wanted: Wanted) -> Foreign:
    """Return the detector in a checkpoint of MMDetection, version 2 or 3.

    R-CNNs with FPN on ResNets and ResNeXts. Where the checkpoint holds the text of its config, what that says
    of images, anchors and the test is taken over; nothing in it is run. Otherwise it is what the shipped
    configs say.

    Args:
        files: one.
        wanted: `arch`, a style of networks, before that of the config; the classes' names, where neither the
            file has them nor they are COCO's 80; `norm_eps`.

    Raises:
        UserError: the file holds something else.
    """
    if len(files) > 1:
        raise UserError(f"--from mmdetection: a detector is one file, got {len(files)}")
    file = files[0]
    content = read_content(file, stand_ins=STAND_INS)
    theirs = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(theirs, dict) or not all(isinstance(value, Tensor) for value in theirs.values()):
        raise UserError(f"{file}: holds no state_dict, as MMDetection's checkpoints do")
    meta = content.get("meta")
    config = _config(meta)
    model = config.get("model")
    _require_one_way(file, model)
    names = {name.removeprefix("module."): value for name, value in theirs.items()}
    unused = tuple(name for name in names if name.startswith(OTHER_HEADS))
    state = fitted_names({renamed(n, NAMES): value for n, value in names.items() if n not in unused})
    style = _style(config) if wanted.arch is None else style_named(wanted.arch)
    parts = parts_of(file, state, style.stride_in)
    _set_parts(parts, state, model)
    more: dict[str, Any] = {"detector.multiple_of": 32, "data.resize": {**_size(config), "like": "opencv"}}
    if kind_of(state) == "cascade_rcnn":
        more["detector.scores"] = "own_logits"
        more["detector.later_stages"] = _later_stages(model)
    named = _class_names(meta)
    return foreign(file, state, parts, style, wanted, named=named, unused=unused, more=more)


def _config(meta: Any) -> dict[str, Any]:
    text = next((looked_up(meta, key) for key in ("cfg", "config") if looked_up(meta, key)), "")
    return read_config_text(text) if isinstance(text, str) else {}


def _class_names(meta: Any) -> tuple[str, ...]:
    places = (("dataset_meta", "classes"), ("dataset_meta", "CLASSES"), ("CLASSES",))
    found = next((names for place in places if (names := looked_up(meta, *place))), ())
    found = (found,) if isinstance(found, str) else found
    return tuple(found) if isinstance(found, list | tuple) and all(isinstance(n, str) for n in found) else ()


def _require_one_way(file: Path, model: Any) -> None:
    """Check what tensors do not tell.

    Raises:
        UserError: the detector works in a way that detkit has not.
    """
    for place, allowed in ONE_WAY:
        value = looked_up(model, *place)
        if value is not None and value not in allowed:
            raise UserError(
                f"{file}: {'.'.join(('model', *place))} of its config is {value}; detkit's is "
                f"{' or '.join(map(str, allowed))}"
            )


def _style(config: Mapping[str, Any]) -> Style:
    """Return how a network takes its images by its config; without one, as torchvision's do."""
    usual = STYLES["pytorch"]
    places = (("model", "data_preprocessor"), ("data_preprocessor",), ("img_norm_cfg",))
    pixels = next((found for place in places if (found := looked_up(config, *place))), None)
    if not isinstance(pixels, dict) or not {"mean", "std"} <= pixels.keys():
        return usual
    rgb = bool(pixels.get("bgr_to_rgb", pixels.get("to_rgb", False)))
    caffe = looked_up(config, "model", "backbone", "style") == "caffe"
    mean, std = (tuple(map(float, pixels[key])) for key in ("mean", "std"))
    return Style(rgb, std, "1x1" if caffe else "3x3", mean)


def _size(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the sides of a test's images; those of the shipped configs where the config does not tell."""
    pipeline = config.get("test_pipeline", looked_up(config, "data", "test", "pipeline"))
    for step in mappings(pipeline):
        size = step.get("img_scale", step.get("scale"))
        if isinstance(size, tuple) and len(size) == 2 and all(isinstance(side, int) for side in size):
            return {"short_px": min(size), "long_px": max(size)}
    return {"short_px": 800, "long_px": 1333}


def _later_stages(model: Any) -> list[dict[str, Any]]:
    """Return the keys of the stages behind the first."""
    own = looked_up(model, "roi_head", "bbox_head")
    heads = own[1:] if isinstance(own, list) and len(own) == 1 + len(LATER_STDS) else [{}] * len(LATER_STDS)
    stages = zip((0.6, 0.7), (0.5, 0.25), heads, LATER_STDS, strict=True)
    return [
        {
            "fg_iou": iou,
            "loss_weight": weight,
            "feature_gradient": 1.0,
            "box_weights": _weights(looked_up(head, "bbox_coder", "target_stds") or usual),
        }
        for iou, weight, head, usual in stages
    ]


def _weights(stds: Sequence[float]) -> list[float]:
    return [round(1 / value, 6) for value in stds]


def _set_parts(parts: Parts, state: Mapping[str, Tensor], model: Any) -> None:
    """Set what the shipped configs of MMDetection have, and then what its own config has."""
    parts["head"] |= {"beta": 0.0, "normalize_by": "batch"}
    if kind_of(state) == "cascade_rcnn":
        parts["head"]["beta"] = 1.0
    if kind_of(state) != "fast_rcnn":
        counts = {"pre_nms_train": 2000, "post_nms_train": 1000, "pre_nms_test": 1000}
        parts["proposals"] |= {**counts, "beta": 0.0, "normalize_by": "batch"}
        anchors = looked_up(model, "rpn_head", "anchor_generator")
        scales, strides, ratios = (looked_up(anchors, key) for key in ("scales", "strides", "ratios"))
        if scales and strides and ratios:
            sizes = [[scale * stride for scale in scales] for stride in strides]
            parts["proposals"]["anchors"] |= {"sizes_px": sizes, "ratios": ratios}
    for place, part, key in SETTINGS:
        value = looked_up(model, *place)
        if isinstance(value, int | float) and not (part == "proposals" and kind_of(state) == "fast_rcnn"):
            parts[part][key] = value
    stds = looked_up(model, "roi_head", "bbox_head", "bbox_coder", "target_stds")
    if stds:
        parts["head"]["box_weights"] = _weights(stds)
