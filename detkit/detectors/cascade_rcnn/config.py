"""Cascade R-CNN's part of a config."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from detkit.detectors.config import Refused, RPNDetectorConfig, Values
from detkit.models.backbones.families import AnyBackboneConfig
from detkit.models.backbones.vgg.family import VGGConfig
from detkit.models.necks.config import AnyNeckConfig, NoNeckConfig
from detkit.models.roi.config import AnyHeadConfig, AnyRegionsConfig, RoIPoolConfig
from detkit.models.roi.head_config import Fc6Fc7HeadConfig, HeadConfig
from detkit.models.rpn.config import AnyRPNConfig, RPNConfig
from detkit.spec import Fraction, NonNegative, Positive, Spec


class LaterStageConfig(Spec):
    """A head behind the first: it has the first one's layers and keys, but for these."""

    fg_iou: Fraction
    """A region holds an object from this IoU on, and is background below."""
    box_weights: tuple[Positive, Positive, Positive, Positive]
    """Scale of the regression targets dx, dy, dw, dh: the better the boxes, the smaller their deviations."""
    loss_weight: NonNegative = 1.0
    """Weight of the stage's two losses beside those of the first stage."""
    feature_gradient: NonNegative = 1.0
    """Factor on the gradient that the stage sends into the feature maps; its own layers get the whole."""


Scores = Literal["last", "own", "own_logits"]
LATER_STAGES = (
    LaterStageConfig(fg_iou=0.6, box_weights=(20.0, 20.0, 10.0, 10.0), feature_gradient=0.5),
    LaterStageConfig(fg_iou=0.7, box_weights=(30.0, 30.0, 15.0, 15.0), feature_gradient=0.25),
)
HEAD: Values = {"class_agnostic": True, "batch_per_image": 512}
PYRAMID = RPNDetectorConfig.pyramid_defaults


class CascadeRCNNConfig(RPNDetectorConfig):
    """Cascade R-CNN (Cai 2018): heads one behind the other, each trained on the boxes of the one before."""

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)
    paper_defaults: ClassVar[Values] = {"head": HEAD}
    pyramid_defaults: ClassVar[Values] = {**PYRAMID, "head": {**PYRAMID["head"], **HEAD}}
    refused: ClassVar[Refused] = {
        "proposals": dict.fromkeys(
            ("selective_search", "edge_boxes", "sliding_window", "file"),
            "has nothing to train its cascade on; its proposals are those of an rpn",
        ),
        "head": {"custom": "has no later stages; name one of detkit's own heads"},
    }

    type: Literal["cascade_rcnn"] = "cascade_rcnn"
    backbone: AnyBackboneConfig = Field(default_factory=VGGConfig)
    """The network that reads the image."""
    neck: AnyNeckConfig = NoNeckConfig()
    """What stands between the backbone and the rest."""
    proposals: AnyRPNConfig = Field(default_factory=RPNConfig)
    """Where to look."""
    regions: AnyRegionsConfig = Field(default_factory=RoIPoolConfig)
    """What is there: features of a region."""
    head: AnyHeadConfig = Field(default_factory=Fc6Fc7HeadConfig)
    """What is it, and where exactly: the first stage. `batch_per_image` is 512 and `class_agnostic` true."""
    feature_gradient: NonNegative = 1.0
    """Factor on the gradient that the first stage sends into the feature maps. detectron2 takes 1/3 in each
    of three stages."""
    later_stages: Annotated[tuple[LaterStageConfig, ...], Field(min_length=1)] = LATER_STAGES
    """The stages behind the first. In training each takes all the boxes that the one before has moved, with
    the labelled ones if `head.add_ground_truth`; in a test the last one moves the boxes."""

    scores: Scores = "last"
    """What a test takes the mean of: `last`, the scores of all stages on the last one's regions (the paper's
    code); `own`, those of each stage on the regions that it moves itself (detectron2); `own_logits`, the same
    before the softmax (MMDetection)."""

    @model_validator(mode="after")
    def _stages_move_boxes_of_any_class(self) -> Self:
        assert isinstance(self.head, HeadConfig)
        if not self.head.class_agnostic:
            raise ValueError(
                "head.class_agnostic must be true: a stage moves boxes before their class is known"
            )
        if self.head.box_targets != "fixed":
            raise ValueError(
                "head.box_targets must be fixed: the boxes of a cascade are not known before the training"
            )
        return self
