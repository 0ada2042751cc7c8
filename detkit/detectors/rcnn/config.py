"""R-CNN."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.detectors.config import DetectorConfig, Values
from detkit.models.backbones.alexnet.family import AlexNetConfig
from detkit.models.backbones.families import AnyBackboneConfig
from detkit.models.roi.decision_config import (
    AnyDecisionConfig,
    BoxRegressionConfig,
    SVMDecisionConfig,
    require_features,
    with_features,
)
from detkit.proposals.config import ExternalProposalsConfig, SelectiveSearchConfig
from detkit.spec import Count, Index, Spec, fill
from detkit.training.config import TrainConfig

# The paper fine-tunes the whole network.
PAPER_DEFAULTS: dict[str, Any] = {"backbone": {"freeze_at": 0}}

OTHER_REGIONS = {"roi_pool": "fast_rcnn", "roi_align": "fast_rcnn", "spp": "sppnet"}


class WarpConfig(Spec):
    """Cut every region out of the image and resize it to the network's input."""

    type: Literal["warp"] = "warp"
    size: Count = 227
    """Side of the crops in pixels: 227 for AlexNet in the paper, 224 for VGG."""
    context_px: Index = 16
    """Pixels of the image around the region, measured in the crop."""
    mode: Literal["warp", "square"] = "warp"
    """`warp` stretches the region to a square; `square` cuts out the square around it."""
    at_once: Count = 128
    """Crops that go through the network together in a test; it decides the memory and changes no result."""

    @model_validator(mode="after")
    def _leaves_room(self) -> WarpConfig:
        if 2 * self.context_px >= self.size:
            raise ValueError(f"context_px ({self.context_px}) must be less than half of size ({self.size})")
        return self


class RCNNConfig(DetectorConfig):
    """R-CNN (Girshick 2014): a network reads each region by itself, cut out and warped to its input."""

    train_types: ClassVar[tuple[str, ...]] = ("staged",)

    type: Literal["rcnn"] = "rcnn"
    backbone: AnyBackboneConfig = Field(default_factory=AlexNetConfig)
    """The network that reads a region. Nothing of it is frozen unless the config says otherwise."""
    proposals: ExternalProposalsConfig = Field(default_factory=SelectiveSearchConfig)
    """Where to look."""
    regions: WarpConfig = Field(default_factory=WarpConfig)
    """What is there: the region's pixels."""
    head: AnyDecisionConfig = Field(default_factory=SVMDecisionConfig)
    """What is it."""
    box_regression: BoxRegressionConfig | None = Field(default_factory=BoxRegressionConfig)
    """Where exactly; null leaves the boxes as they are proposed."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = cls.with_parts(data)
        proposals, regions = data.get("proposals"), data.get("regions")
        if isinstance(proposals, dict) and proposals.get("type") == "rpn":
            raise ValueError(
                "rcnn with proposals: rpn has no maps for the rpn; a proposal network on "
                "the maps of the detector is faster_rcnn; detkit propose writes its boxes for proposals: file"
            )
        if isinstance(regions, dict) and regions.get("type") in OTHER_REGIONS:
            kind = regions["type"]
            raise ValueError(f"rcnn with regions: {kind} is {OTHER_REGIONS[kind]}")
        if isinstance(regions, dict) and regions.get("type") == "custom":
            raise ValueError(
                "rcnn with regions: custom cannot be; regions are cut out while images are loaded: take warp"
            )
        return with_features(fill(data, PAPER_DEFAULTS))

    @model_validator(mode="after")
    def _parts_fit(self) -> RCNNConfig:
        require_features(self.backbone.type, self.head)
        return self

    @classmethod
    def complete(cls, config: Values) -> Values:
        """Leave images as they are, which regions are cut out of, unless a size is asked for."""
        return fill(config, {"data": {"resize": None}})

    def check(self, data: DataConfig, train: TrainConfig) -> None:
        """Check that images are not augmented."""
        if getattr(data.train, "augment", ()):
            raise ValueError(
                "data.train.augment must be empty with rcnn, which is trained on regions as they are; "
                "train.fine_tune.flip mirrors them"
            )

    @property
    def external_proposals(self) -> ExternalProposalsConfig:
        """The proposals that it is given."""
        return self.proposals
