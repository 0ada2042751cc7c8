"""A detector of regions whose weights have our names -> the config that it is built by."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from detkit.detectors.importers import Foreign, Wanted
from detkit.detectors.toolkits.pixels import Style, for_our_pixels
from detkit.errors import UserError
from detkit.models.backbones.resnet.network import BLOCKS
from detkit.models.backbones.resnet.shapes import keys_of_weights
from detkit.models.pretrained import COUNTER

OWN_EPS = 1e-5
SIZES_PX = (32, 64, 128, 256, 512)
SCORES, BOXES = "roi_head.predictor.cls_score.weight", "roi_head.predictor.bbox_pred.weight"
STEM = "backbone.conv1.weight"
CONFIGS = {
    "faster_rcnn": "faster_rcnn_resnet50_fpn_coco",
    "cascade_rcnn": "cascade_rcnn_resnet50_fpn_coco",
    "fast_rcnn": "fast_rcnn_vgg16_coco",
}
"""The shipped config that a detector's data and training are taken from."""

State = Mapping[str, Tensor]
Parts = dict[str, dict[str, Any]]


def stage(number: str | None) -> str:
    """Return what our names of a head begin with, by its number in a cascade; None is the only one."""
    return f"later_stages.{int(number) - 1}" if number and int(number) else "roi_head"


def fitted_names(state: State) -> dict[str, Tensor]:
    """Return weights with the names that depend on others: those of a head with one fc layer.

    Counters of norms are left out, which nothing depends on.
    """
    fc = "fc6" if any(".head.fc7." in name for name in state) else "fc"
    return {
        name.replace(".head.fc6.", f".head.{fc}."): value
        for name, value in state.items()
        if not name.endswith(COUNTER)
    }


def parts_of(file: Path, state: State, stride_in: str) -> Parts:
    """Return what the weights of a detector with RoIAlign say of its parts, under the keys of a config.

    Args:
        file: named in errors.
        state: the weights under our names.
        stride_in: which convolution of a bottleneck halves the map.

    Raises:
        UserError: they are none of a detector that detkit has.
    """
    keys = keys_of_weights(state)
    if keys is None:
        raise UserError(f"{file}: its backbone is no ResNet of {', '.join(map(str, BLOCKS))} layers")
    fpn, dc5 = _has(state, "neck."), _has(state, "backbone.layer4.") and not _has(state, "neck.")
    backbone = {"type": "resnet", **keys, "weights": "none", "freeze_at": 2, "norm": "frozen"}
    if "groups" in keys:
        backbone |= {"stride_in": stride_in, "dc5": dc5}
    neck: dict[str, Any] = {"type": "none"}
    if fpn:
        norm = "trainable" if _has(state, "neck.inner_blocks.0.1.") else "none"
        neck = {
            "type": "fpn",
            "channels": len(_get(file, state, "neck.inner_blocks.0.0.weight")),
            "norm": norm,
        }
    head, size = _head(file, state)
    return {
        "backbone": backbone,
        "neck": neck,
        "proposals": _rpn(file, state, fpn) if _has(state, "rpn.") else {"type": "selective_search"},
        "regions": {"type": "roi_align", "size": size, "sampling_ratio": 0, "aligned": True},
        "head": head,
    }


def _has(names: State, begin: str) -> bool:
    return any(name.startswith(begin) for name in names)


def _get(file: Path, state: State, name: str) -> Tensor:
    if name not in state:
        raise UserError(f"{file}: holds no detector of regions, of which {name} would be in detkit")
    return state[name]


def _rpn(file: Path, state: State, fpn: bool) -> dict[str, Any]:
    convs = sum(bool(re.fullmatch(r"rpn\.head\.conv\.\d+\.0\.weight", name)) for name in state)
    return {
        "type": "rpn",
        "anchors": {
            "sizes_px": [[size] for size in SIZES_PX] if fpn else [SIZES_PX],
            "ratios": [0.5, 1.0, 2.0],
            "rounding": "none",
            "offset": 0.0,
            "over": "padding",
        },
        "channels": len(_get(file, state, "rpn.head.conv.0.0.weight")),
        "num_convs": convs,
        "border_px": None,
        "min_size_px": 0.0,
        "post_nms_test": 1000,
    }


def _head(file: Path, state: State) -> tuple[dict[str, Any], int]:
    """Return the first head's keys, and the cells along each side of its regions."""
    common = {
        "class_agnostic": len(_get(file, state, BOXES)) == 4 and len(_get(file, state, SCORES)) > 2,
        "batch_per_image": 512,
        "nms_iou": 0.5,
    }
    if _has(state, "roi_head.head.layer4."):
        return {"type": "layer4", **common}, 14
    if "roi_head.head.fc.weight" in state:
        channels, columns = state["roi_head.head.fc.weight"].shape
        widths = [len(value) for name, value in state.items() if re.fullmatch(CONVS, name)]
        norm = "trainable" if _has(state, "roi_head.head.convs.0.1.") else "none"
        if widths:
            convs = {"num_convs": len(widths), "conv_channels": widths[0], "norm": norm}
            return {"type": "conv_fc", **common, **convs, "channels": channels}, math.isqrt(
                columns // widths[0]
            )
    channels, columns = _get(file, state, "roi_head.head.fc6.weight").shape
    name = "neck.layer_blocks.0.0.weight" if _has(state, "neck.") else "backbone.layer4.0.conv3.weight"
    return {"type": "two_fc", **common, "channels": channels}, math.isqrt(
        columns // len(_get(file, state, name))
    )


CONVS = r"roi_head\.head\.convs\.\d+\.0\.weight"


def kind_of(state: State) -> str:
    """Return the `type` of the detector that some weights are of."""
    if _has(state, "later_stages."):
        return "cascade_rcnn"
    return "faster_rcnn" if _has(state, "rpn.") else "fast_rcnn"


def foreign(
    file: Path,
    state: State,
    parts: Parts,
    style: Style,
    wanted: Wanted,
    *,
    named: Sequence[str] = (),
    unused: Sequence[str] = (),
    more: Mapping[str, Any],
) -> Foreign:
    """Return the detector of some weights.

    Args:
        file: named in errors.
        state: the weights under our names.
        parts: keys of its parts.
        style: how its network takes an image.
        wanted: what the user says; names of classes come before those of the file.
        named: classes that the file names.
        unused: names of what the file holds besides.
        more: other keys of the config that differ from the shipped one.

    Raises:
        UserError: the number of classes is another.
    """
    kind = kind_of(state)
    if kind == "cascade_rcnn":
        parts["head"]["class_agnostic"] = True
    changes = {
        **{f"detector.{part}": keys for part, keys in parts.items()},
        "data.resize": {"short_px": 800, "long_px": 1333},
        "train.precision": "fp32",  # as it was trained: bfloat16 moves boxes
        **more,
    }
    is_person = any("keypoint_head" in name for name in unused)
    return Foreign(
        config=CONFIGS[kind],
        # JSON is YAML, too.
        overrides=tuple(f"{key}={json.dumps(value)}" for key, value in changes.items()),
        classes=_classes(file, len(state[SCORES]) - 1, wanted.classes or tuple(named), is_person=is_person),
        state=_our_values(file, state, style, OWN_EPS if wanted.norm_eps is None else wanted.norm_eps),
        unused=tuple(unused),
    )


def _classes(file: Path, count: int, named: tuple[str, ...], *, is_person: bool) -> tuple[str, ...]:
    if not named and count == 1 and is_person:
        return ("person",)
    if not named and count == 80:
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

        names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
        return tuple(name for name in names[1:] if name != "N/A")
    if len(named) != count:
        raise UserError(
            f"{file}: has {count} classes beside background, which it does not name: name each with --class, "
            f"in its order; got {len(named)}"
        )
    return named


def _our_values(file: Path, state: State, style: Style, norm_eps: float) -> dict[str, Tensor]:
    more = norm_eps - OWN_EPS
    ours = {name: value + more if name.endswith("running_var") else value for name, value in state.items()}
    return ours | {STEM: for_our_pixels(_get(file, state, STEM), style, file)}
