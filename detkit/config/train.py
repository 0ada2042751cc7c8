"""The ways to learn a detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detkit.detectors.faster_rcnn.alternating_config import AlternatingConfig
from detkit.training.loop.config import GradientConfig
from detkit.training.staged.config import StagedConfig

AnyTrainConfig = Annotated[GradientConfig | StagedConfig | AlternatingConfig, Field(discriminator="type")]
