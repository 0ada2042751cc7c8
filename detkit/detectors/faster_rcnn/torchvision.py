"""torchvision's Faster R-CNN, and the box part of its Mask and Keypoint R-CNN -> ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detkit.detectors.importers import Foreign, Wanted
from detkit.errors import UserError, shown
from detkit.models.backbones.mobilenet.shapes import BLOCKS as MOBILENET_BLOCKS
from detkit.models.backbones.mobilenet.shapes import NORM_EPS, variant_of_weights
from detkit.models.backbones.resnet.network import BLOCKS
from detkit.models.backbones.resnet.shapes import keys_of_weights
from detkit.models.pretrained import read_state

# What torchvision's names begin with -> what ours do; the first that fits holds. The second spelling of
# a part is that of files from before torchvision 0.13, which it still publishes.
PREFIXES = (
    # The blocks of a MobileNet have numbers, the stages of a ResNet names.
    *((f"backbone.body.{number}.", f"backbone.features.{number}.") for number in range(19)),
    ("backbone.body.", "backbone."),
    ("backbone.fpn.", "neck."),
    ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
    ("rpn.head.conv.bias", "rpn.head.conv.0.0.bias"),
    ("rpn.", "rpn."),
    ("roi_heads.box_head.fc", "roi_head.head.fc"),
    ("roi_heads.box_predictor.", "roi_head.predictor."),
    *((f"roi_heads.box_head.{number}.", f"roi_head.head.convs.{number}.") for number in range(4)),
    ("roi_heads.box_head.5.", "roi_head.head.fc."),
)
OWN_EPS = 1e-5
OTHER_HEADS = ("roi_heads.mask_", "roi_heads.keypoint_")
"""What the names of parts begin with that say more of an object than its box."""

SCORES, BOXES = "roi_heads.box_predictor.cls_score.weight", "roi_heads.box_predictor.bbox_pred.weight"
PUBLISHED = re.compile(r"(fasterrcnn|maskrcnn|keypointrcnn)_\w+_fpn\w*-[0-9a-f]{8}\.pth")
FIRST_VERSION = re.compile(r"\w+_resnet50_fpn_coco-")
MOBILE, SMALL = "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"
"""torchvision's two detectors with a MobileNet, whose images and numbers of proposals differ in size."""

COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Ids from 1 to 90 that COCO has no class for; torchvision's classifiers have outputs for them."""


def import_torchvision(files: Sequence[Path], wanted: Wanted) -> Foreign:
    """Return the Faster R-CNN in a file that holds a state dict of torchvision's.

    A ResNet of any depth, a ResNeXt or a Wide ResNet with FPN, of the first or the second version, or a
    MobileNet. The model resizes and pads as torchvision does. A published file of the first version was
    trained with norms that add nothing to the variance, which its name tells.

    Args:
        files: one.
        wanted: the classes' names, where the file is not of COCO's 90 ids; `norm_eps` of frozen norms; as
            `arch`, which of the two detectors with a MobileNet it is, where its name does not tell.

    Raises:
        UserError: the file holds something else, or the number of classes is another.
    """
    if len(files) > 1:
        raise UserError(f"--from torchvision: a detector is one file, got {len(files)}")
    file = files[0]
    state = {name.removeprefix("module."): value for name, value in read_state(file).items()}
    others = tuple(name for name in state if name.startswith(OTHER_HEADS))
    boxes = {name: value for name, value in state.items() if name not in others}
    for name in (SCORES, BOXES):
        if name not in boxes:
            raise UserError(
                f"{file}: holds no Faster, Mask or Keypoint R-CNN of torchvision's, of which {name} would be"
            )
    classes = _classes(file, len(boxes[SCORES]) - 1, wanted.classes, is_person=_has(others, "keypoint"))
    version_2 = _has(boxes, "roi_heads.box_head.0.0")
    eps = wanted.norm_eps
    if eps is None:
        eps = 0.0 if FIRST_VERSION.match(file.name) else OWN_EPS
    variant = variant_of_weights(boxes, "backbone.body.")
    changes = _changes(boxes, _network(file, boxes) if variant is None else {"variant": variant})
    config = "faster_rcnn_resnet50_fpn_v2_coco" if version_2 else "faster_rcnn_resnet50_fpn_coco"
    return Foreign(
        config=_config(file, config, wanted.arch, is_mobile=variant is not None),
        # JSON is YAML, too.
        overrides=tuple(f"{key}={json.dumps(value)}" for key, value in changes.items()),
        classes=classes,
        state=from_torchvision(boxes, norm_eps=eps, own_eps=NORM_EPS[variant] if variant else OWN_EPS),
        unused=others,
        licence="BSD-3-Clause" if PUBLISHED.fullmatch(file.name) else "NOASSERTION",
    )


def _has(names: Sequence[str] | Mapping[str, Tensor], part: str) -> bool:
    return any(part in name for name in names)


def _classes(file: Path, count: int, named: tuple[str, ...], *, is_person: bool) -> tuple[str, ...]:
    """Return the names of a file's classes."""
    if not named and count == 1 and is_person:
        return ("person",)
    if not named and count == len(COCO_GAPS) + 80:
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

        names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:]
        return tuple(f"N/A {i + 1}" if i + 1 in COCO_GAPS else name for i, name in enumerate(names))
    if len(named) != count:
        raise UserError(
            f"{file}: has {count} classes beside background, which it does not name: name each with --class, "
            f"in its order; got {len(named)}"
        )
    return named


def _config(file: Path, of_resnet: str, arch: str | None, *, is_mobile: bool) -> str:
    """Return the shipped config of a file's detector."""
    if arch is not None and not (is_mobile and arch in (MOBILE, SMALL)):
        raise UserError(
            f"{file}: --arch {shown(arch)}: tells {MOBILE} from {SMALL}, which have the same weights; "
            f"this file holds {'one of them' if is_mobile else 'none of them'}"
        )
    if not is_mobile:
        return of_resnet
    small = (arch or file.name).startswith(SMALL)
    return (
        "faster_rcnn_mobilenet_v3_large_320_fpn_coco" if small else "faster_rcnn_mobilenet_v3_large_fpn_coco"
    )


def _changes(state: Mapping[str, Tensor], network: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs from the shipped config, by key."""
    trained = any(name.startswith("backbone.body.") and "num_batches" in name for name in state)
    return {
        **{f"detector.backbone.{key}": value for key, value in network.items()},
        "detector.backbone.weights": "none",
        "detector.backbone.norm": "trainable" if trained else "frozen",
        "detector.neck.norm": "trainable" if _has(state, "backbone.fpn.inner_blocks.0.1.") else "none",
        "detector.multiple_of": 32,
        "detector.proposals.anchors.over": "batch",
        "detector.proposals.num_convs": 1 + _has(state, "rpn.head.conv.1."),
        "data.resize.like": "torchvision",
        "train.precision": "fp32",  # as it was trained: bfloat16 moves boxes
    }


def _network(file: Path, state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the keys of the file's ResNet, ResNeXt or Wide ResNet."""
    keys = keys_of_weights(state, "backbone.body.")
    if keys is None:
        raise UserError(
            f"{file}: its backbone is no ResNet of {', '.join(map(str, BLOCKS))} layers, and no MobileNet of "
            f"{', '.join(map(str, MOBILENET_BLOCKS.values()))} blocks"
        )
    return keys


def from_torchvision(
    state: Mapping[str, Tensor], *, norm_eps: float = OWN_EPS, own_eps: float = OWN_EPS
) -> dict[str, Tensor]:
    """Return torchvision's Faster R-CNN (with FPN, first or second version) under our names.

    torchvision holds background as row 0 of the classifier, we hold it as the last; its box outputs have
    four rows for background, which say nothing and are left out. All other classes keep their order, so
    K is one less than torchvision's number of classes.

    Args:
        state: `fasterrcnn_resnet50_fpn(...).state_dict()` or that of `_v2`.
        norm_eps: what the model's frozen norms add to the variance; torchvision sets it to 0 for its
            published weights of the first version (COCO_V1).
        own_eps: what the norms of our backbone add. The rest of it goes into the variance of the weights,
            which may be below zero then; never the sum of both.

    Raises:
        UserError: If a name is not one of such a model.
    """
    return {our_name(name): _our_value(name, value, norm_eps, own_eps) for name, value in state.items()}


def _our_value(name: str, value: Tensor, norm_eps: float, own_eps: float) -> Tensor:
    if ".cls_score." in name:
        return torch.cat([value[1:], value[:1]])
    if "roi_heads.box_predictor.bbox_pred." in name:
        return value[4:]
    if name.endswith("running_var"):
        return value + (norm_eps - (own_eps if name.startswith("backbone.body.") else OWN_EPS))
    return value


def our_name(name: str) -> str:
    """Return what we call a weight of torchvision's.

    Raises:
        UserError: it is none of a Faster R-CNN.
    """
    for theirs, ours in PREFIXES:
        if name.startswith(theirs):
            return _fpn_name(ours + name.removeprefix(theirs))
    raise UserError(
        f"{name}: not a weight of torchvision's fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2 or "
        f"{MOBILE}"
    )


def _fpn_name(name: str) -> str:
    """Return the name with the index that convolutions of a pyramid had not always had."""
    parts = name.split(".")
    if parts[0] == "neck" and len(parts) == 4:
        parts.insert(3, "0")
    return ".".join(parts)
