"""R-CNN."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.detectors.config import Refused, StagedDetectorConfig, Values
from detkit.models.backbones.alexnet.family import AlexNetConfig
from detkit.models.backbones.families import AnyBackboneConfig, family_of
from detkit.models.roi.decision_config import AnyDecisionConfig, BoxRegressionConfig, SVMDecisionConfig
from detkit.proposals.config import ExternalProposalsConfig, SelectiveSearchConfig
from detkit.spec import Count, CustomConfig, Index, Spec, fill
from detkit.training.config import TrainConfig


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


class RCNNConfig(StagedDetectorConfig):
    """R-CNN (Girshick 2014): a network reads each region by itself, cut out and warped to its input."""

    # The paper fine-tunes the whole network.
    paper_defaults: ClassVar[Values] = {"backbone": {"freeze_at": 0}}
    refused: ClassVar[Refused] = {
        "proposals": {
            "rpn": "has no maps for the rpn; a proposal network on the maps of the detector is faster_rcnn; "
            "detkit propose writes its boxes for proposals: file"
        },
        "regions": {
            "roi_pool": "is fast_rcnn",
            "roi_align": "is fast_rcnn",
            "spp": "is sppnet",
            "custom": "cannot be; regions are cut out while images are loaded: take warp",
        },
    }

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

    @model_validator(mode="after")
    def _crops_can_be_read(self) -> RCNNConfig:
        smallest = 1 if isinstance(self.backbone, CustomConfig) else family_of(self.backbone).smallest_crop_px
        if self.regions.size < smallest:
            raise ValueError(
                f"regions.size must be at least {smallest} with backbone: {self.backbone.type}, "
                f"got {self.regions.size}"
            )
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
