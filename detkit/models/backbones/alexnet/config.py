"""AlexNet's part of the YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detkit.models.backbones.config import ALL_STAGES, BackboneConfig


class AlexNetConfig(BackboneConfig):
    """AlexNet (Krizhevsky 2012, in torchvision's one-tower form): conv1 to conv5, stride 16."""

    type: Literal["alexnet"] = "alexnet"
    freeze_at: Annotated[int, Field(ge=0, le=ALL_STAGES)] = 1
    """How many convolutions from the input on stay as they are (Fast R-CNN freezes conv1)."""
