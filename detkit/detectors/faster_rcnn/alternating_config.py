"""Learning a region proposal network and a Fast R-CNN in turn."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from detkit.spec import Count, Index, NonNegative, Spec
from detkit.training.loop.config import (
    AnyOptimizerConfig,
    AnyScheduleConfig,
    CosineScheduleConfig,
    GradientConfig,
    Precision,
    WarmupConfig,
)


class TurnConfig(Spec):
    """One loop over the data for one of the two networks."""

    epochs: Count = 12
    """How often every image is seen."""
    batch_size: Count = 2
    """Images of one optimizer step, over all processes and all `accumulate` parts."""
    accumulate: Count = 1
    """In how many parts a batch is worked off, to save memory."""
    optimizer: AnyOptimizerConfig
    """The update rule."""
    reference_batch: Count | None = None
    """The batch size that `optimizer.lr` is meant for; null: no scaling."""
    schedule: AnyScheduleConfig = CosineScheduleConfig(type="cosine")
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


class AlternatingConfig(Spec):
    """Faster R-CNN's 4-step training (Ren 2015), which ends in one network that shares its convolutions."""

    type: Literal["alternating"] = "alternating"
    rpn: TurnConfig
    """How the proposal network is learned: in step 1 with the convolutions, in step 3 alone."""
    fast_rcnn: TurnConfig
    """How the head is learned: in step 2 with convolutions of its own, in step 4 alone."""
    pre_nms: Count | None = None
    """Best boxes of an image kept before non-maximum suppression, where the proposal network makes proposals
    to learn from; null keeps all."""
    post_nms: Count = 2000
    """Best boxes kept after it."""
    precision: Precision = "auto"
    """Arithmetic of the network: `auto` takes bf16 where the processor computes in it, otherwise fp32."""


def as_gradient(turn: TurnConfig, precision: Precision) -> GradientConfig:
    """Return a turn as a training of its own, which nothing judges."""
    values = {name: getattr(turn, name) for name in TurnConfig.model_fields}
    return GradientConfig(type="gradient", precision=precision, validate_every=0, **values)
