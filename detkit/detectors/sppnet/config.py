"""SPP-net."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from detkit.detectors.config import Refused, StagedDetectorConfig, Values, kind_of
from detkit.models.backbones.config import ALL_STAGES
from detkit.models.backbones.families import AnyBackboneConfig, family_named
from detkit.models.backbones.zfnet.family import ZFNetConfig
from detkit.models.roi.decision_config import AnyDecisionConfig, BoxRegressionConfig, SVMDecisionConfig
from detkit.proposals.config import ExternalProposalsConfig, SelectiveSearchConfig
from detkit.spec import Count, CustomConfig, Spec, fill


class SpatialPyramidConfig(Spec):
    """The maxima of a region over grids of several sizes."""

    type: Literal["spp"] = "spp"
    levels: Annotated[tuple[Count, ...], Field(min_length=1)] = (6, 3, 2, 1)
    """Cells along each side of each grid; vgg has [7, 3, 2, 1]. Pretrained weights of fc6 go to the grid
    they are for (6, or 7 for vgg); without it fc6 and fc7 start at random."""


AnyPyramidConfig = Annotated[SpatialPyramidConfig | CustomConfig, Field(discriminator="type")]


class SPPNetConfig(StagedDetectorConfig):
    """SPP-net (He 2014): a network reads the whole image once, and regions are pooled from its map."""

    # The convolutions stay as they are; regression is pulled harder and learns from more boxes than in R-CNN.
    paper_defaults: ClassVar[Values] = {
        "backbone": {"freeze_at": ALL_STAGES},
        "box_regression": {"ridge": 4000.0, "min_iou": 0.5},
    }
    refused: ClassVar[Refused] = {
        "proposals": {"rpn": "is faster_rcnn"},
        "regions": {"roi_pool": "is fast_rcnn", "roi_align": "is fast_rcnn", "warp": "is rcnn"},
    }

    type: Literal["sppnet"] = "sppnet"
    backbone: AnyBackboneConfig = Field(default_factory=ZFNetConfig)
    """The network that reads the image. All of it is frozen unless the config says otherwise."""
    scales_px: tuple[Count, ...] = ()
    """Short sides of the copies of an image that are read, rising; each region is taken from the one where
    the root of its area is nearest to 224 pixels. The largest is `data.resize.short_px`. Empty reads one."""
    copy_for_each: Literal["region", "image"] = "region"
    """Fine-tuning takes one of the copies by chance: for each region, as the authors' program does, which
    reads all copies of an image, or for each image, which reads one and takes a fraction of the time."""
    proposals: ExternalProposalsConfig = Field(default_factory=SelectiveSearchConfig)
    """Where to look."""
    regions: AnyPyramidConfig = Field(default_factory=SpatialPyramidConfig)
    """What is there: features of a region."""
    head: AnyDecisionConfig = Field(default_factory=SVMDecisionConfig)
    """What is it."""
    box_regression: BoxRegressionConfig | None = Field(default_factory=BoxRegressionConfig)
    """Where exactly, `ridge` 4000 and `min_iou` 0.5; null leaves the boxes as they are proposed."""

    @classmethod
    def filled(cls, parts: Values) -> Values:
        """Return the mappings with the paper's values; the finest grid is the one of the backbone's fc6."""
        family = family_named(kind_of(parts.get("backbone")))
        levels = {"levels": (family.fc.cells, 3, 2, 1)} if family and family.fc else {}
        return super().filled(fill(fill(parts, {"regions": {"type": "spp"}}), {"regions": levels}))

    @classmethod
    def complete(cls, config: Values) -> Values:
        """Leave regions out of the fine-tuning that overlap no object, and let no layer learn faster."""
        if kind_of(config.get("train")) != "staged":
            return config
        train = {"fine_tune": {}, **config["train"]}
        own = {"bg_low_iou": 0.1, "new_lr_factor": 1.0}
        return fill({**config, "train": train}, {"train": {"fine_tune": own}})
