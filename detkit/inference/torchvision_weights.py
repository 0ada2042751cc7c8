"""Trained detectors of other toolkits -> state dicts of ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from detkit.errors import UserError

# What torchvision's names begin with -> what ours do; the first that fits holds. The second spelling of
# a part is that of files from before torchvision 0.13, which it still publishes.
PREFIXES = (
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


def from_torchvision(state: Mapping[str, Tensor], *, norm_eps: float = OWN_EPS) -> dict[str, Tensor]:
    """Return torchvision's Faster R-CNN (ResNet with FPN, first or second version) under our names.

    torchvision holds background as row 0 of the classifier, we hold it as the last; its box outputs have
    four rows for background, which say nothing and are left out. All other classes keep their order, so
    K is one less than torchvision's number of classes.

    Args:
        state: `fasterrcnn_resnet50_fpn(...).state_dict()` or that of `_v2`.
        norm_eps: what the model's frozen norms add to the variance; torchvision sets it to 0 for its
            published weights of the first version (COCO_V1).

    Raises:
        UserError: If a name is not one of such a model.
    """
    return {_our_name(name): _our_value(name, value, norm_eps) for name, value in state.items()}


def _our_value(name: str, value: Tensor, norm_eps: float) -> Tensor:
    if ".cls_score." in name:
        return torch.cat([value[1:], value[:1]])
    if "roi_heads.box_predictor.bbox_pred." in name:
        return value[4:]
    if name.endswith("running_var"):
        return value + (norm_eps - OWN_EPS)
    return value


def _our_name(name: str) -> str:
    for theirs, ours in PREFIXES:
        if name.startswith(theirs):
            return _fpn_name(ours + name.removeprefix(theirs))
    raise UserError(
        f"{name}: not a weight of torchvision's fasterrcnn_resnet50_fpn or fasterrcnn_resnet50_fpn_v2"
    )


def _fpn_name(name: str) -> str:
    """Return the name with the index that convolutions of a pyramid had not always had."""
    parts = name.split(".")
    if parts[0] == "neck" and len(parts) == 4:
        parts.insert(3, "0")
    return ".".join(parts)
