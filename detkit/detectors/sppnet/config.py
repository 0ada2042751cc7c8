"""SPP-net."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.detectors.config import DetectorConfig, Values, check_image_scales
from detkit.models.backbones.config import ALL_STAGES
from detkit.models.backbones.families import AnyBackboneConfig, family_named
from detkit.models.backbones.zfnet.family import ZFNetConfig
from detkit.models.roi.decision_config import (
    AnyDecisionConfig,
    BoxRegressionConfig,
    SVMDecisionConfig,
    require_features,
    with_features,
)
from detkit.proposals.config import ExternalProposalsConfig, SelectiveSearchConfig
from detkit.spec import Count, CustomConfig, Spec, fill
from detkit.training.config import TrainConfig

# The convolutions stay as they are; regression is pulled harder and learns from more boxes than in R-CNN.
PAPER_DEFAULTS: dict[str, Any] = {
    "backbone": {"freeze_at": ALL_STAGES},
    "box_regression": {"ridge": 4000.0, "min_iou": 0.5},
}

OTHER_REGIONS = {"roi_pool": "fast_rcnn", "roi_align": "fast_rcnn", "warp": "rcnn"}


class SpatialPyramidConfig(Spec):
    """The maxima of a region over grids of several sizes."""

    type: Literal["spp"] = "spp"
    levels: Annotated[tuple[Count, ...], Field(min_length=1)] = (6, 3, 2, 1)
    """Cells along each side of each grid; vgg has [7, 3, 2, 1]. Pretrained weights of fc6 go to the grid
    they are for (6, or 7 for vgg); without it fc6 and fc7 start at random."""


AnyPyramidConfig = Annotated[SpatialPyramidConfig | CustomConfig, Field(discriminator="type")]


class SPPNetConfig(DetectorConfig):
    """SPP-net (He 2014): a network reads the whole image once, and regions are pooled from its map."""

    train_types: ClassVar[tuple[str, ...]] = ("staged",)

    type: Literal["sppnet"] = "sppnet"
    backbone: AnyBackboneConfig = Field(default_factory=ZFNetConfig)
    """The network that reads the image. All of it is frozen unless the config says otherwise."""
    scales_px: tuple[Count, ...] = ()
    """Short sides of the copies of an image that are read, rising; each region is taken from the one where
    its area is nearest to 224 x 224 pixels, and fine-tuning takes one by chance. The largest is
    `data.resize.short_px`. Empty reads one."""
    proposals: ExternalProposalsConfig = Field(default_factory=SelectiveSearchConfig)
    """Where to look."""
    regions: AnyPyramidConfig = Field(default_factory=SpatialPyramidConfig)
    """What is there: features of a region."""
    head: AnyDecisionConfig = Field(default_factory=SVMDecisionConfig)
    """What is it."""
    box_regression: BoxRegressionConfig | None = Field(default_factory=BoxRegressionConfig)
    """Where exactly, `ridge` 4000 and `min_iou` 0.5; null leaves the boxes as they are proposed."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = cls.with_parts(data)
        proposals, regions = data.get("proposals"), data.get("regions")
        if isinstance(proposals, dict) and proposals.get("type") == "rpn":
            raise ValueError("sppnet with proposals: rpn is faster_rcnn")
        if isinstance(regions, dict) and regions.get("type") in OTHER_REGIONS:
            kind = regions["type"]
            raise ValueError(f"sppnet with regions: {kind} is {OTHER_REGIONS[kind]}")
        backbone = data.get("backbone")
        family = family_named(backbone.get("type")) if isinstance(backbone, dict) else None
        # The finest level is the grid that fc6 was pretrained on.
        levels = {"regions": {"levels": (family.fc.cells, 3, 2, 1)}} if family and family.fc else {}
        return with_features(fill(fill(data, {"regions": {"type": "spp"}}), PAPER_DEFAULTS | levels))

    @model_validator(mode="after")
    def _parts_fit(self) -> SPPNetConfig:
        require_features(self.backbone.type, self.head)
        if list(self.scales_px) != sorted(set(self.scales_px)):
            raise ValueError(f"scales_px must rise, got {list(self.scales_px)}")
        if self.scales_px and isinstance(self.regions, CustomConfig):
            raise ValueError("scales_px needs regions of detkit's own, not custom")
        return self

    @classmethod
    def complete(cls, config: Values) -> Values:
        """Leave regions out of the fine-tuning that overlap no object at all."""
        train = config.get("train")
        if not isinstance(train, dict) or train.get("type") != "staged":
            return config
        tuned = train.get("fine_tune", {})
        if not isinstance(tuned, dict):
            return config
        return {**config, "train": {**train, "fine_tune": {"bg_low_iou": 0.1, **tuned}}}

    def check(self, data: DataConfig, train: TrainConfig) -> None:
        """Check that smaller copies of an image are made of the size that images come in."""
        check_image_scales(self.scales_px, data)

    @property
    def image_scales_px(self) -> tuple[int, ...]:
        """Short sides of the copies of an image that are read in a test."""
        return self.scales_px

    @property
    def external_proposals(self) -> ExternalProposalsConfig:
        """The proposals that it is given."""
        return self.proposals
