"""Faster R-CNN and the parts that go with it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from detkit.config.backbone import AlexNetBackbone, Backbone, ResNetBackbone
from detkit.config.neck import FPN, Neck, NoNeck
from detkit.config.proposal import RPN
from detkit.config.region import Fc6Fc7Head, Head, Layer4Head, Regions
from detkit.config.spec import Custom, Spec

# With an FPN these values replace the defaults of the classes above, which follow the papers for
# one feature map (VGG16 and C4). They are today's practice (Lin 2017, torchvision).
FPN_DEFAULTS: dict[str, Any] = {
    "proposals": {
        "anchors": {
            "sizes_px": ((32,), (64,), (128,), (256,), (512,)),
            "rounding": "corners",
            "offset": 0.0,
        },
        "channels": 0,
        "border_px": None,
        "pre_nms_train": 2000,
        "pre_nms_test": 1000,
        "post_nms_test": 1000,
        "min_size_px": 0.0,
    },
    "head": {"batch_per_image": 512, "nms_iou": 0.5},
}

OTHER_NAMES = {
    "selective_search": "fast_rcnn",
    "edge_boxes": "fast_rcnn",
    "sliding_window": "fast_rcnn",
    "file": "fast_rcnn",
}


class FasterRCNN(Spec):
    """Faster R-CNN (Ren 2015), trained jointly; with a C4, conv5 or FPN wiring."""

    type: Literal["faster_rcnn"]
    backbone: Backbone
    """The network that reads the image."""
    neck: Neck = NoNeck(type="none")
    """What stands between the backbone and the rest."""
    proposals: RPN
    """Where to look."""
    regions: Regions
    """What is there: features of a region."""
    head: Head
    """What is it, and where exactly."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        proposals = data.get("proposals")
        kind = proposals.get("type") if isinstance(proposals, dict) else None
        if isinstance(kind, str) and kind in OTHER_NAMES:
            raise ValueError(f"faster_rcnn with proposals: {kind} is {OTHER_NAMES[kind]}")
        neck = data.get("neck")
        if isinstance(neck, dict) and neck.get("type") == "fpn":
            return _fill(data, FPN_DEFAULTS)
        return data

    @model_validator(mode="after")
    def _parts_fit(self) -> FasterRCNN:
        backbone, head = self.backbone, self.head
        pyramid = isinstance(self.neck, FPN)
        if pyramid and isinstance(backbone, AlexNetBackbone):
            raise ValueError("neck: fpn needs a backbone with four stages: resnet or vgg, not alexnet")
        if isinstance(head, Layer4Head) and (pyramid or not isinstance(backbone, ResNetBackbone | Custom)):
            raise ValueError("head: layer4 needs backbone: resnet and neck: none (the C4 wiring)")
        if isinstance(head, Fc6Fc7Head) and (pyramid or isinstance(backbone, ResNetBackbone)):
            raise ValueError("head: fc6_fc7 needs backbone: vgg or alexnet and neck: none")
        maps = len(self.proposals.anchors.sizes_px)
        if not pyramid and maps != 1:
            raise ValueError(f"anchors.sizes_px has {maps} lists, but without fpn there is one feature map")
        if pyramid and maps != 5:
            raise ValueError(f"anchors.sizes_px has {maps} lists, but fpn has 5 feature maps")
        return self


def _fill(data: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return `data` with what it leaves out taken from `defaults`; what it holds stays as it is."""
    filled = dict(data)
    for key, value in defaults.items():
        if isinstance(value, dict):
            # A missing mapping is filled in, too, but for the tagged ones: their type is the user's choice,
            # and a user's own part takes none of our keys.
            given = filled.get(key, {} if key == "anchors" else None)
            if isinstance(given, dict) and given.get("type") != "custom":
                filled[key] = _fill(given, value)
        else:
            filled.setdefault(key, value)
    return filled
