"""Faster R-CNN and the parts that go with it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from detkit.models.backbones.families import AnyBackboneConfig
from detkit.models.necks.config import AnyNeckConfig, FPNConfig, NoNeckConfig
from detkit.models.roi.config import AnyHeadConfig, AnyRegionsConfig
from detkit.models.roi.wiring import fill, require_wiring
from detkit.models.rpn.config import RPNConfig
from detkit.spec import Spec

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


class FasterRCNNConfig(Spec):
    """Faster R-CNN (Ren 2015), trained jointly; with a C4, conv5 or FPN wiring."""

    type: Literal["faster_rcnn"] = "faster_rcnn"
    backbone: AnyBackboneConfig
    """The network that reads the image."""
    neck: AnyNeckConfig = NoNeckConfig(type="none")
    """What stands between the backbone and the rest."""
    proposals: RPNConfig
    """Where to look."""
    regions: AnyRegionsConfig
    """What is there: features of a region."""
    head: AnyHeadConfig
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
            return fill(data, FPN_DEFAULTS)
        return data

    @model_validator(mode="after")
    def _parts_fit(self) -> FasterRCNNConfig:
        require_wiring(self.backbone, self.neck, self.head)
        pyramid = isinstance(self.neck, FPNConfig)
        maps = len(self.proposals.anchors.sizes_px)
        if not pyramid and maps != 1:
            raise ValueError(f"anchors.sizes_px has {maps} lists, but without fpn there is one feature map")
        if pyramid and maps != 5:
            raise ValueError(f"anchors.sizes_px has {maps} lists, but fpn has 5 feature maps")
        return self
