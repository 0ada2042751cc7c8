"""Fast R-CNN."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.detectors.config import DetectorConfig, Values, check_image_scales
from detkit.models.backbones.families import AnyBackboneConfig
from detkit.models.backbones.vgg.family import VGGConfig
from detkit.models.necks.config import AnyNeckConfig, FPNConfig, NoNeckConfig
from detkit.models.roi.config import AnyHeadConfig, AnyRegionsConfig, RoIPoolConfig, require_wiring
from detkit.models.roi.decision_config import SVMConfig
from detkit.models.roi.head_config import Fc6Fc7HeadConfig
from detkit.proposals.config import ExternalProposalsConfig, SelectiveSearchConfig
from detkit.spec import Count, CustomConfig, fill
from detkit.training.config import TrainConfig

# These values replace the defaults of the heads, which are Faster R-CNN's.
PAPER_DEFAULTS: Values = {"head": {"batch_per_image": 64, "bg_iou": (0.1, 0.5), "box_targets": "measured"}}
FPN_STRIDE = 4


class FastRCNNConfig(DetectorConfig):
    """Fast R-CNN (Girshick 2015): classifies the boxes it is given, on maps of the whole image."""

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)
    pyramid_defaults: ClassVar[Values] = {"head": {"batch_per_image": 512, "nms_iou": 0.5}}

    type: Literal["fast_rcnn"] = "fast_rcnn"
    backbone: AnyBackboneConfig = Field(default_factory=VGGConfig)
    """The network that reads the image."""
    neck: AnyNeckConfig = NoNeckConfig()
    """What stands between the backbone and the rest."""
    proposals: ExternalProposalsConfig = Field(default_factory=SelectiveSearchConfig)
    """Where to look."""
    regions: AnyRegionsConfig = Field(default_factory=RoIPoolConfig)
    """What is there: features of a region."""
    head: AnyHeadConfig = Field(default_factory=Fc6Fc7HeadConfig)
    """What is it, and where exactly. Without fpn `batch_per_image` is 64, `bg_iou` [0.1, 0.5] and
    `box_targets` measured."""
    scales_px: tuple[Count, ...] = ()
    """Short sides of the copies of an image that are looked at in test; each region is taken from the one
    where its area is nearest to 224 x 224 pixels. The largest is `data.resize.short_px`. Empty reads one.
    In training `augment: [{type: multi_scale}]` draws one of several for each image."""

    svms: SVMConfig | None = None
    """SVMs that take the place of the softmax once the network is trained (its `post-hoc SVMs`); the boxes
    stay the network's own. Null keeps the softmax, which is better in the paper."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = cls.with_parts(data)
        proposals, neck = data.get("proposals"), data.get("neck")
        if isinstance(proposals, dict) and proposals.get("type") == "rpn":
            raise ValueError("fast_rcnn with proposals: rpn is faster_rcnn")
        pyramid = isinstance(neck, dict) and neck.get("type") == "fpn"
        return fill(data, cls.pyramid_defaults if pyramid else PAPER_DEFAULTS)

    @model_validator(mode="after")
    def _parts_fit(self) -> FastRCNNConfig:
        require_wiring(self.backbone, self.neck, self.head)
        if self.svms and isinstance(self.head, CustomConfig):
            raise ValueError("svms needs a head of detkit's own, not custom")
        if self.scales_px and not isinstance(self.neck, NoNeckConfig):
            raise ValueError("scales_px needs neck: none; a pyramid of features has its scales already")
        if self.scales_px and isinstance(self.regions, CustomConfig):
            raise ValueError("scales_px needs regions of detkit's own, not custom")
        if list(self.scales_px) != sorted(set(self.scales_px)):
            raise ValueError(f"scales_px must rise, got {list(self.scales_px)}")
        return self

    def check(self, data: DataConfig, train: TrainConfig) -> None:
        """Check that smaller copies of an image are made of the size that images come in."""
        check_image_scales(self.scales_px, data)

    @property
    def external_proposals(self) -> ExternalProposalsConfig:
        """The proposals that it is given."""
        return self.proposals

    @property
    def finest_stride(self) -> int:
        """Pixels per cell of the finest feature map."""
        return FPN_STRIDE if isinstance(self.neck, FPNConfig) else super().finest_stride

    @property
    def image_scales_px(self) -> tuple[int, ...]:
        """Short sides of the copies of an image that are read in a test."""
        return self.scales_px
