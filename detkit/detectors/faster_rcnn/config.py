"""Faster R-CNN's part of a config, and its 4-step training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.detectors.config import Refused, RPNDetectorConfig
from detkit.models.backbones.families import AnyBackboneConfig
from detkit.models.backbones.vgg.family import VGGConfig
from detkit.models.necks.config import AnyNeckConfig, NoNeckConfig
from detkit.models.roi.config import AnyHeadConfig, AnyRegionsConfig, RoIPoolConfig
from detkit.models.roi.head_config import Fc6Fc7HeadConfig, HeadConfig
from detkit.models.rpn.config import AnyRPNConfig, RPNConfig
from detkit.spec import Count, Index, NonNegative, Spec
from detkit.training.config import Precision, TrainConfig
from detkit.training.loop.config import (
    AnyOptimizerConfig,
    AnyScheduleConfig,
    CosineScheduleConfig,
    GradientConfig,
    WarmupConfig,
)


class FasterRCNNConfig(RPNDetectorConfig):
    """Faster R-CNN (Ren 2015), trained jointly; with a C4, conv5 or FPN wiring."""

    train_types: ClassVar[tuple[str, ...]] = ("gradient", "alternating")
    refused: ClassVar[Refused] = {
        "proposals": dict.fromkeys(
            ("selective_search", "edge_boxes", "sliding_window", "file"), "is fast_rcnn"
        )
    }

    type: Literal["faster_rcnn"] = "faster_rcnn"
    backbone: AnyBackboneConfig = Field(default_factory=VGGConfig)
    """The network that reads the image."""
    neck: AnyNeckConfig = NoNeckConfig()
    """What stands between the backbone and the rest."""
    proposals: AnyRPNConfig = Field(default_factory=RPNConfig)
    """Where to look."""
    regions: AnyRegionsConfig = Field(default_factory=RoIPoolConfig)
    """What is there: features of a region."""
    head: AnyHeadConfig = Field(default_factory=Fc6Fc7HeadConfig)
    """What is it, and where exactly."""

    def check(self, data: DataConfig, train: TrainConfig) -> None:
        """Check that box targets are not measured on proposals that are still being trained."""
        measured = isinstance(self.head, HeadConfig) and self.head.box_targets == "measured"
        if measured and isinstance(train, GradientConfig):
            raise ValueError(
                "head.box_targets: measured needs proposals that are known before the training; those of "
                "faster_rcnn are not where both stages are trained together: take fixed, or train.type: "
                "alternating"
            )


class TurnConfig(Spec):
    """One loop over the data for one of the two networks."""

    epochs: Count = 12
    """How often every image is seen."""
    batch_size: Count = 2
    """Images of one optimizer step, over all processes and all `accumulate` parts."""
    accumulate: Count = 1
    """In how many parts a batch is processed, to save memory."""
    optimizer: AnyOptimizerConfig
    """The update rule."""
    reference_batch: Count | None = None
    """The batch size that `optimizer.lr` is meant for; null: no scaling."""
    schedule: AnyScheduleConfig = CosineScheduleConfig()
    """How the learning rate changes."""
    warmup: WarmupConfig = WarmupConfig()
    """How it starts."""
    clip_norm: NonNegative = 0.0
    """Upper limit of the gradient's norm; 0 is no limit."""
    save_every_steps: Index = 0
    """Write last.pt also every so many steps; 0 writes it after each epoch."""

    @model_validator(mode="after")
    def _divides(self) -> TurnConfig:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})"
            )
        return self


class AlternatingConfig(TrainConfig):
    """Faster R-CNN's 4-step training (Ren 2015), which ends in one network that shares its convolutions."""

    type: Literal["alternating"] = "alternating"
    rpn: TurnConfig
    """How the proposal network is trained: in step 1 with the convolutions, in step 3 alone."""
    fast_rcnn: TurnConfig
    """How the head is trained: in step 2 with convolutions of its own, in step 4 alone."""
    pre_nms: Count | None = None
    """Best boxes of an image kept before non-maximum suppression, where the proposal network makes proposals
    to learn from; null keeps all."""
    post_nms: Count = 2000
    """Best boxes kept after it."""
    precision: Precision = "auto"
    """Arithmetic of the network: `auto` takes bf16 where the processor computes in it, otherwise fp32."""

    def fitted_to(self, num_examples: int) -> tuple[AlternatingConfig, str]:
        """Return the config with enough epochs of each network for a small dataset, and a sentence."""
        rpn, said = as_gradient(self.rpn, self.precision).fitted_to(num_examples)
        fast, of_fast = as_gradient(self.fast_rcnn, self.precision).fitted_to(num_examples)
        length = {
            name: turn.model_copy(update={"epochs": fitted.epochs, "schedule": fitted.schedule})
            for name, turn, fitted in (("rpn", self.rpn, rpn), ("fast_rcnn", self.fast_rcnn, fast))
        }
        steps = f"each step: {said}" if said == of_fast else f"steps 1 and 3: {said}; 2 and 4: {of_fast}"
        return self.model_copy(update=length), steps


def as_gradient(turn: TurnConfig, precision: Precision) -> GradientConfig:
    """Return a turn as a training of its own, without validation."""
    values = {name: getattr(turn, name) for name in TurnConfig.model_fields}
    return GradientConfig(type="gradient", precision=precision, validate_every=0, **values)
