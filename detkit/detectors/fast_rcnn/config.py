"""Fast R-CNN."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from detkit.detectors.config import MapDetectorConfig, Refused, Values
from detkit.models.backbones.families import AnyBackboneConfig
from detkit.models.backbones.vgg.family import VGGConfig
from detkit.models.necks.config import AnyNeckConfig, NoNeckConfig
from detkit.models.roi.config import AnyHeadConfig, AnyRegionsConfig, RoIPoolConfig
from detkit.models.roi.decision_config import SVMConfig
from detkit.models.roi.head_config import Fc6Fc7HeadConfig
from detkit.proposals.config import ExternalProposalsConfig, SelectiveSearchConfig
from detkit.spec import Count, CustomConfig


class FastRCNNConfig(MapDetectorConfig):
    """Fast R-CNN (Girshick 2015): classifies the boxes it is given, on maps of the whole image."""

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)
    # The defaults of the heads are Faster R-CNN's.
    paper_defaults: ClassVar[Values] = {
        "head": {"batch_per_image": 64, "bg_iou": (0.1, 0.5), "box_targets": "measured"}
    }
    pyramid_defaults: ClassVar[Values] = {"head": {"batch_per_image": 512, "nms_iou": 0.5}}
    refused: ClassVar[Refused] = {"proposals": {"rpn": "is faster_rcnn"}}

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

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.svms and isinstance(self.head, CustomConfig):
            raise ValueError("svms needs a head of detkit's own, not custom")
        if self.scales_px and not isinstance(self.neck, NoNeckConfig):
            raise ValueError("scales_px needs neck: none; a pyramid of features has its scales already")
        return self

    @property
    def external_proposals(self) -> ExternalProposalsConfig:
        """The proposals that it is given."""
        return self.proposals
